// The page: camera or photo in; box, emoji, probabilities and heat map out
import { heatMap, predict } from './faces.js'
import { load } from './networks.js'
import { photograph, picture, readPhoto } from './pixels.js'
import { COLORS, EMOTIONS } from './settings.js'

const $ = id => document.getElementById(id)
const make = (tag, props) => Object.assign(document.createElement(tag), props)
const LIVE = 320, LARGEST = 1280 // pixels of the camera's look, and of what is shown
const percent = p => `${Math.round(100 * p)} %`
const count = faces => faces.length === 1 ? '1 face' : `${faces.length} faces`
const says = face => `${EMOTIONS[face.first]} ${percent(face.probabilities[face.first])}`
const near = file => new URL(file, import.meta.url)
const emoji = EMOTIONS.map(name => make('img', { src: near(`emoji/${name}.png`), alt: '' }))

// What is on the page: where its pixels are, its size, its faces and the one that is chosen
export const shown = { source: null, w: 0, h: 0, faces: [], chosen: 0, frames: 0 }
let job = 0, stream = null

const say = text => { if ($('status').textContent !== text) $('status').textContent = text }

// --- what is drawn
function heatPatch(face) {
  const canvas = new OffscreenCanvas(48, 48), pen = canvas.getContext('2d')
  const pixels = pen.createImageData(48, 48)
  const color = v => [255, 510 * v - 255, 0, 190 * v] // from clear over red to yellow
  heatMap(face).forEach((v, i) => pixels.data.set(color(v), 4 * i))
  pen.putImageData(pixels, 0, 0)
  return canvas
}

function drawFace(pen, face, chosen, scale) {
  const [x, y, w, h] = face.box.map(v => v * scale)
  const [left, top, side] = face.square.map(v => v * scale)
  if (chosen && $('overlay').checked) {
    pen.save()
    pen.translate(left + side / 2, top + side / 2)
    pen.rotate(face.turn * Math.PI / 2)
    pen.drawImage(heatPatch(face), -side / 2, -side / 2, side, side)
    pen.restore()
  }
  const line = Math.max(2, w / 40) * (chosen ? 1.5 : 1), size = Math.max(24, w / 3)
  for (const [color, width] of [['#fff', 2 * line], [COLORS[face.first], line]]) {
    Object.assign(pen, { strokeStyle: color, lineWidth: width })
    pen.strokeRect(x, y, w, h)
  }
  const image = emoji[face.first]
  const [right, down] = [x, y].map(v => Math.max(0, v - size / 2))
  if (image.complete) pen.drawImage(image, right, down, size, size)
}

function drawView() {
  const { source, w, h, faces, chosen } = shown, view = $('view')
  const scale = Math.min(1, LARGEST / Math.max(w, h))
  const [W, H] = [w, h].map(v => Math.ceil(v * scale))
  if (view.width !== W || view.height !== H) Object.assign(view, { width: W, height: H })
  const pen = view.getContext('2d')
  pen.fillStyle = '#fff'
  pen.fillRect(0, 0, W, H)
  pen.drawImage(source, 0, 0, W, H)
  for (let i = faces.length - 1; i >= 0; i--) drawFace(pen, faces[i], i === chosen, scale)
  view.setAttribute('aria-label', `The picture with ${count(faces)}`)
}

function drawCrop(face) {
  const pens = ['seen', 'heat'].map(id => $(id).getContext('2d'))
  const grey = pens[0].createImageData(48, 48)
  face.pixels.forEach((v, i) => grey.data.set([v, v, v, 255], 4 * i))
  for (const pen of pens) pen.putImageData(grey, 0, 0)
  pens[1].drawImage(heatPatch(face), 0, 0)
}

// --- the answer beside the picture. The rows are made once, so that the camera only changes them
const bars = EMOTIONS.map((name, k) => {
  const row = make('li'), fill = make('i'), value = make('b')
  const bar = make('span', { className: 'bar-track' })
  fill.style.background = COLORS[k]
  bar.setAttribute('aria-hidden', true)
  bar.append(fill)
  row.append(emoji[k].cloneNode(), make('span', { textContent: name }), bar, value)
  return { row, fill, value }
})
$('bars')?.append(...bars.map(b => b.row))

function faceButtons(n) {
  const buttons = [...$('faces').children].slice(0, n)
  for (let i = buttons.length; i < n; i++) {
    const b = make('button', { type: 'button', onclick: () => choose(i) })
    b.append(make('img', { alt: '' }), make('span'))
    buttons.push(b)
  }
  if (buttons.length !== $('faces').childElementCount || $('faces').lastChild !== buttons.at(-1))
    $('faces').replaceChildren(...buttons)
  return buttons
}

function writeAnswer() {
  const { faces, chosen } = shown, face = faces[chosen]
  $('answer').hidden = !face
  if (!face) return
  faceButtons(faces.length).forEach((b, i) => {
    const [image, text] = b.children, f = faces[i]
    if (image.src !== emoji[f.first].src) image.src = emoji[f.first].src
    text.textContent = `Face ${i + 1}: ${says(f)}`
    b.setAttribute('aria-pressed', i === chosen)
  })
  bars.forEach(({ row, fill, value }, k) => {
    const p = face.probabilities[k]
    row.classList.toggle('first', k === face.first)
    fill.style.width = `${100 * p}%`
    value.textContent = percent(p)
  })
  $('for').textContent = EMOTIONS[face.first]
  drawCrop(face)
}

function show() {
  $('stage').hidden = false
  shown.chosen = Math.min(shown.chosen, Math.max(0, shown.faces.length - 1))
  drawView()
  writeAnswer()
}

function choose(i) {
  shown.chosen = i
  show()
}

// --- photos
const summary = (faces, name) => faces.length ? `${count(faces)}: ${faces.map(says).join(', ')}.` :
  `No face was found in ${name}. A larger or brighter face may help.`

async function answerPhoto(blob, name, goesOn) {
  say('Looking for faces…')
  const bitmap = await readPhoto(blob, name), im = photograph(bitmap), faces = await predict(im)
  if (!goesOn()) return bitmap.close()
  shown.source?.close?.()
  Object.assign(shown, { source: bitmap, w: im.w, h: im.h, faces, chosen: 0 })
  show()
  $('stage').scrollIntoView({ block: 'nearest' })
  say(summary(faces, name))
}

async function answerSample(button, goesOn) {
  const file = await fetch(near(button.dataset.photo))
  await answerPhoto(await file.blob(), button.textContent, goesOn)
}

// --- the camera
const REFUSED = {
  NotAllowedError: 'The camera was refused. Allow it in the browser, or choose a photo.',
  NotFoundError: 'No camera was found. Connect one, or choose a photo.',
  NotReadableError: 'The camera is in use elsewhere. Close the other program, or choose a photo.',
}
const NO_CAMERA = 'The browser gives the camera to pages from https or localhost. Choose a photo.'

async function openCamera(goesOn) {
  if (!navigator.mediaDevices) throw Error(NO_CAMERA)
  say('Waiting for the camera…')
  const size = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: 'user' }
  const opened = await navigator.mediaDevices.getUserMedia({ video: size, audio: false })
  if (!goesOn()) return opened.getTracks().forEach(track => track.stop())
  stream = opened
  $('stop').hidden = $('rate').hidden = false
  $('camera').hidden = true
  $('stop').focus()
  stream.getTracks()[0].onended = () => {
    stop()
    say('The camera is gone. Connect it and open it again, or choose a photo.')
  }
  const video = make('video', { srcObject: stream, muted: true, playsInline: true })
  await video.play()
  say('The camera is on. Its pictures stay in this page.')
  await watch(video, goesOn)
}

// Tells when the video has a frame that was not answered yet. It listens all the time: a frame
// that came while another was answered is there at once, and older ones are left out
function newFrames(video, goesOn) {
  let fresh = false, tell = null
  const listen = () => {
    if (!goesOn()) return tell?.()
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(seen)
    else requestAnimationFrame(seen)
  }
  const seen = () => {
    fresh = true
    tell?.()
    listen()
  }
  listen()
  return async () => {
    if (!fresh) await new Promise(done => tell = done)
    fresh = false
  }
}

async function watch(video, goesOn) {
  const canvas = new OffscreenCanvas(1, 1)
  const pen = canvas.getContext('2d', { willReadFrequently: true })
  const newFrame = newFrames(video, goesOn)
  let counted = 0, since = performance.now()
  while (await newFrame(), goesOn()) {
    const w = video.videoWidth, h = video.videoHeight // they change when a phone is turned
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h })
    pen.drawImage(video, 0, 0)
    const faces = await predict(picture(pen.getImageData(0, 0, w, h).data, w, h), LIVE, 1)
    if (!goesOn()) return
    shown.source?.close?.()
    Object.assign(shown, { source: canvas, w, h, faces, frames: shown.frames + 1 })
    show()
    const seconds = (performance.now() - since) / 1000
    counted++
    if (seconds < 1) continue
    $('rate').textContent = `${Math.round(counted / seconds)} frames a second`
    since = performance.now()
    counted = 0
  }
}

// --- what a visitor does
function stop() {
  job++
  stream?.getTracks().forEach(track => track.stop())
  stream = null
  $('stop').hidden = $('rate').hidden = true
  $('camera').hidden = false
}

// Camera or photo. What was started before ends, and nobody hears of its answers and errors
async function start(work) {
  stop()
  const mine = job, goesOn = () => mine === job
  try {
    await ready
    await work(goesOn)
  } catch (error) {
    if (!goesOn()) return
    stop()
    say(REFUSED[error.name] ?? error.message)
  }
}

const photoFrom = ([file] = []) => file && start(goesOn => answerPhoto(file, file.name, goesOn))

function listen() {
  $('camera').onclick = () => $('notice').showModal()
  $('notice').onclose = () => { if ($('notice').returnValue === 'open') start(openCamera) }
  $('notice').oncancel = () => { $('notice').returnValue = '' }
  $('stop').onclick = () => {
    stop()
    say('The camera is off.')
    $('camera').focus()
  }
  $('photo').onchange = e => {
    photoFrom(e.target.files)
    e.target.value = '' // so that the same file can be chosen again
  }
  for (const b of document.querySelectorAll('[data-photo]'))
    b.onclick = () => start(goesOn => answerSample(b, goesOn))
  $('overlay').onchange = () => shown.source && show()
  $('view').onclick = e => {
    const scale = shown.w / $('view').clientWidth, [x, y] = [e.offsetX * scale, e.offsetY * scale]
    const inside = ([left, top, w, h]) => x >= left && x <= left + w && y >= top && y <= top + h
    const i = shown.faces.findIndex(({ box }) => inside(box))
    if (i >= 0) choose(i)
  }
  document.addEventListener('paste', e => photoFrom(e.clipboardData.files))
  const over = on => e => {
    e.preventDefault()
    $('demo').classList.toggle('over', on)
  }
  document.addEventListener('dragover', over(true))
  document.addEventListener('dragleave', over(false))
  document.addEventListener('drop', e => {
    over(false)(e)
    photoFrom(e.dataTransfer.files)
  })
  addEventListener('pagehide', stop)
}

async function begin() {
  if (typeof WebAssembly === 'undefined')
    throw Error('This browser has no WebAssembly, or it is switched off. Use a current browser.')
  try { await load() }
  catch (e) { throw Error(`The networks could not be loaded (${e.message}). Load the page again.`) }
}

listen()
export const ready = begin()
ready.then(() => { if (!job) say('Ready.') }, error => say(error.message))
