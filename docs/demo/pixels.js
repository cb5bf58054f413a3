// Pixels as OpenCV and Pillow see them, so that the answers are those of `predict` in Python.
// A picture is {w, h, row}: row(y) gives the RGBA bytes of one row.
import { MAX_PIXELS } from './settings.js'

export const clamp = (v, low, high) => Math.min(high, Math.max(low, v))

// Halves go to the even neighbour, as in Python and OpenCV
export const round = v => {
  const r = Math.round(v)
  return r - v === .5 && r % 2 ? r - 1 : r
}

export const picture = (data, w, h) =>
  ({ w, h, data, row: y => data.subarray(4 * w * y, 4 * w * (y + 1)) })

// A photo is read in bands: phones refuse a canvas of 17 million pixels or more
const BAND = 128
export function photograph(bitmap) {
  const { width: w, height: h } = bitmap
  const canvas = new OffscreenCanvas(w, Math.min(h, BAND))
  const pen = canvas.getContext('2d', { willReadFrequently: true })
  let top = -1, band
  const row = y => {
    if (top < 0 || y < top || y >= top + BAND) {
      top = y - y % BAND
      pen.fillStyle = '#fff' // under what is transparent
      pen.fillRect(0, 0, w, BAND)
      pen.drawImage(bitmap, 0, -top)
      band = pen.getImageData(0, 0, w, Math.min(BAND, h - top)).data
    }
    return band.subarray(4 * w * (y - top), 4 * w * (y - top + 1))
  }
  return { w, h, row }
}

// The size is known from an <img> before anything is unpacked
async function sizeOf(blob) {
  const img = new Image(), url = URL.createObjectURL(blob)
  try {
    await new Promise((onload, onerror) => Object.assign(img, { onload, onerror, src: url }))
    return img.naturalWidth * img.naturalHeight
  } catch { return 0 } finally { URL.revokeObjectURL(url) }
}

// The upright photo in a file, in the numbers that the file holds; or one sentence on what is wrong
export async function readPhoto(blob, name) {
  const million = n => Math.round(n / 1e6)
  const size = await sizeOf(blob)
  if (size > MAX_PIXELS) throw Error(`${name} has ${million(size)} million pixels, and this page ` +
    `takes ${million(MAX_PIXELS)} million. Save it smaller, or use predict in Python.`)
  const asIs = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' }
  try { if (size) return await createImageBitmap(blob, asIs) } catch { /* the sentence below */ }
  const head = await blob.slice(4, 12).text() // iPhones keep photos as HEIC
  const why = /^ftyp(hei|hev|mif|msf)/.test(head)
    ? 'is a HEIC picture, which this browser cannot read'
    : 'is not a picture that this browser can read'
  throw Error(`${name} ${why}. Choose a .jpg, .png or .webp file.`)
}

// OpenCV's INTER_AREA where a side becomes shorter, INTER_CUBIC where it becomes longer.
// For each new pixel: the old pixels that count, and their weights
function weights(from, to) {
  const scale = from / to, A = -.75
  const near = d => ((A + 2) * d - (A + 3)) * d * d + 1
  const far = d => ((A * d - 5 * A) * d + 8 * A) * d - 4 * A
  const area = i => {
    const start = i * scale, end = Math.min(start + scale, from), first = Math.floor(start + 1e-9)
    const found = []
    for (let j = first; j < end - 1e-9; j++)
      found.push((Math.min(j + 1, end) - Math.max(j, start)) / (end - start))
    return [first, found]
  }
  const cubic = i => {
    const x = (i + .5) * scale - .5, t = x - Math.floor(x)
    return [Math.floor(x) - 1, [far(t + 1), near(t), near(1 - t), far(2 - t)]]
  }
  return Array.from({ length: to }, (_, i) => {
    const [first, ws] = (scale < 1 ? cubic : area)(i)
    const old = Int32Array.from(ws, (_, k) => clamp(first + k, 0, from - 1))
    return { old, ws: Float32Array.from(ws) }
  })
}

// One row of n numbers a pixel, made narrower or wider
function stretched(row, across, n) {
  const made = new Float32Array(n * across.length)
  for (let X = 0, to = 0; X < across.length; X++) {
    const { old, ws } = across[X]
    for (let c = 0; c < n; c++, to++) {
      let v = 0
      for (let k = 0; k < ws.length; k++) v += ws[k] * row[n * old[k] + c]
      made[to] = v
    }
  }
  return made
}

// `row(y)` of a picture of w by h pixels with n numbers each, as bytes of W by H pixels
export function resize({ w, h, row }, W, H, n = 4) {
  const across = weights(w, W), down = weights(h, H), length = n * W
  const kept = new Map(), sum = new Float32Array(length), out = new Uint8ClampedArray(length * H)
  for (let Y = 0; Y < H; Y++) {
    const { old, ws } = down[Y]
    for (const y of kept.keys()) if (y < old[0]) kept.delete(y)
    sum.fill(0)
    for (let k = 0; k < ws.length; k++) {
      if (!kept.has(old[k])) kept.set(old[k], stretched(row(old[k]), across, n))
      const made = kept.get(old[k]), weight = ws[k]
      for (let i = 0; i < length; i++) sum[i] += weight * made[i]
    }
    out.set(sum, length * Y) // clamped bytes round as OpenCV does
  }
  return out
}

export const resized = (im, W, H) =>
  im.data && im.w === W && im.h === H ? im : picture(resize(im, W, H), W, H)

// np.rot90: quarter turns to the left, of `n` numbers a pixel
export function turned(data, w, h, turn, n) {
  if (!turn) return data
  const out = new data.constructor(data.length), W = turn % 2 ? h : w
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    const X = turn === 1 ? y : turn === 2 ? w - 1 - x : h - 1 - y
    const Y = turn === 1 ? w - 1 - x : turn === 2 ? h - 1 - y : x
    for (let c = 0; c < n; c++) out[n * (Y * W + X) + c] = data[n * (y * w + x) + c]
  }
  return out
}

// A square of the photo in OpenCV's grey; beyond the photo's edge its last pixels repeat
export function greySquare({ w, h, row }, left, top, side) {
  const grey = new Uint8Array(side * side)
  for (let j = 0; j < side; j++) {
    const rgba = row(clamp(top + j, 0, h - 1))
    for (let i = 0; i < side; i++) {
      const o = 4 * clamp(left + i, 0, w - 1)
      grey[j * side + i] = (9798 * rgba[o] + 19235 * rgba[o + 1] + 3735 * rgba[o + 2] + 16384) >> 15
    }
  }
  return grey
}
