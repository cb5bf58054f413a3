// `find_faces`, `crop_face`, `predict` and `heat_map` of the Python package, step by step the same
import { classify, detect } from './networks.js'
import { clamp, greySquare, resize, resized, round, turned } from './pixels.js'
import { CROP_FACTOR, EMOTIONS, MAX_SIDE, MIN_SCORE, UPRIGHT_SCORE } from './settings.js'

const SIZE = 48, CELLS = 6 // sides of a face and of the network's map
const OVERLAP = .3 // from here on, two of YuNet's boxes are one face

// Boxes are [x, y, width, height, score]
const overlap = (a, b) => {
  const w = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0])
  const h = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1])
  return Math.max(0, w) * Math.max(0, h)
}
const ofBoth = (a, b) => overlap(a, b) / (a[2] * a[3] + b[2] * b[3] - overlap(a, b))
const ofSmaller = (a, b) => overlap(a, b) / Math.max(1e-9, Math.min(a[2] * a[3], b[2] * b[3]))

// Of boxes that overlap, the one with the highest score
function best(boxes, shared, most) {
  const kept = []
  for (const box of boxes.sort((a, b) => b[4] - a[4]))
    if (kept.every(other => shared(box, other) < most)) kept.push(box)
  return kept
}

// One look of YuNet at RGBA bytes
async function look(data, w, h) {
  if (Math.min(w, h) < 32) return []
  const W = 32 * Math.ceil(w / 32), H = 32 * Math.ceil(h / 32), planes = new Float32Array(3 * W * H)
  for (let c = 0; c < 3; c++) for (let y = 0; y < h; y++) {
    const to = (c * H + y) * W, from = 4 * w * y + 2 - c
    for (let x = 0; x < w; x++) planes[to + x] = data[from + 4 * x]
  }
  const out = await detect(planes, W, H), found = []
  for (const step of [8, 16, 32]) {
    const [isFace, isThere, box] = ['cls', 'obj', 'bbox'].map(name => out[`${name}_${step}`])
    const columns = W / step
    for (let i = 0; i < isFace.length; i++) {
      const score = Math.sqrt(clamp(isFace[i], 0, 1) * clamp(isThere[i], 0, 1))
      if (score < MIN_SCORE) continue
      const [dx, dy, lw, lh] = box.subarray(4 * i, 4 * i + 4)
      const bw = step * Math.exp(lw), x = step * (i % columns + dx) - bw / 2
      const bh = step * Math.exp(lh), y = step * (Math.floor(i / columns) + dy) - bh / 2
      found.push([x, y, bw, bh, score])
    }
  }
  return best(found, ofBoth, OVERLAP)
}

// Where a box found in the turned picture lies in the picture of w by h pixels
const turnedBack = ([x, y, bw, bh, score], turn, w, h) => [
  [x, y, bw, bh],
  [w - y - bh, x, bh, bw],
  [w - x - bw, h - y - bh, bw, bh],
  [y, h - x - bw, bh, bw],
][turn].concat(score)

// The photo with its longer side at `maxSide` (where it has as many pixels) and at 320
function looksAt(im, maxSide) {
  const longer = Math.max(im.w, im.h)
  const sides = new Set([320, Math.min(maxSide, Math.max(320, longer))])
  return [...sides].sort((a, b) => b - a).map(side => {
    const scale = side / longer, size = v => Math.max(1, round(v * scale))
    im = resized(im, size(im.w), size(im.h))
    return { scale, im }
  })
}

async function facesTurned(looks, turn, W, H) {
  const boxes = []
  for (const { scale, im: { data, w, h } } of looks) {
    const found = await look(turned(data, w, h, turn, 4), ...(turn % 2 ? [h, w] : [w, h]))
    for (const box of found) {
      const back = turnedBack(box, turn, w, h)
      boxes.push([...back.slice(0, 4).map(v => v / scale), back[4]])
    }
  }
  const faces = best(boxes, ofSmaller, .5).map(([x, y, w, h, score]) => {
    const [x0, x1] = [x, x + w].map(v => clamp(round(v), 0, W))
    const [y0, y1] = [y, y + h].map(v => clamp(round(v), 0, H))
    return { box: [x0, y0, x1 - x0, y1 - y0], score: round(1000 * score) / 1000, turn }
  })
  return faces.filter(({ box: [, , w, h] }) => w > 0 && h > 0)
}

// All faces, the largest first. Where no score is high, the photo is turned as well
export async function findFaces(im, maxSide = MAX_SIDE, turns = 4) {
  const looks = looksAt(im, maxSide)
  const total = faces => faces.reduce((sum, f) => sum + f.score, 0)
  let found = []
  for (let turn = 0; turn < turns; turn++) {
    const faces = await facesTurned(looks, turn, im.w, im.h)
    const sure = faces.some(f => f.score >= UPRIGHT_SCORE)
    if (total(faces) > total(found) && (sure || !turn)) found = faces
    if (sure && !turn) break
  }
  const area = ({ box: [, , w, h] }) => w * h
  return found.sort((a, b) => area(b) - area(a))
}

// Grey first, then resized: the square around the box as [left, top, side], and its 48x48 pixels
export function cropFace(im, { box: [x, y, w, h], turn }) {
  const side = Math.max(1, round(CROP_FACTOR * Math.sqrt(w * h)))
  const left = round(x + (w - side) / 2), top = round(y + (h - side) / 2)
  const grey = turned(greySquare(im, left, top, side), side, side, turn, 1)
  const row = v => grey.subarray(side * v, side * (v + 1))
  const pixels = side === SIZE ? grey : resize({ w: side, h: side, row }, SIZE, SIZE, 1)
  return { square: [left, top, side], pixels }
}

// What the network says about each face. The camera asks for one look at 320 pixels, and no turns
export async function predict(im, maxSide, turns) {
  const faces = await findFaces(im, maxSide, turns), n = faces.length
  if (!n) return []
  const crops = faces.map(face => cropFace(im, face)), batch = new Uint8Array(n * SIZE * SIZE)
  crops.forEach(({ pixels }, i) => batch.set(pixels, i * SIZE * SIZE))
  const { probs, cam } = await classify(batch, n)
  const classes = EMOTIONS.length, cells = classes * CELLS ** 2
  return faces.map((face, i) => {
    const probabilities = [...probs.subarray(i * classes, (i + 1) * classes)]
    const first = probabilities.indexOf(Math.max(...probabilities))
    const maps = cam.slice(i * cells, (i + 1) * cells)
    return { ...face, ...crops[i], probabilities, first, maps }
  })
}

// Where the evidence for the class `k` lies: 48x48 numbers of at most 1
export function heatMap({ maps, first }, k = first) {
  const map = maps.subarray(k * CELLS ** 2, (k + 1) * CELLS ** 2)
  const out = new Float32Array(SIZE * SIZE)
  const at = i => {
    const v = (i + .5) * CELLS / SIZE - .5, low = Math.floor(v)
    return [Math.max(0, low), Math.min(CELLS - 1, low + 1), v - low]
  }
  const value = (row, column) => Math.max(0, map[CELLS * row + column])
  for (let y = 0; y < SIZE; y++) for (let x = 0; x < SIZE; x++) {
    const [above, below, v] = at(y), [left, right, u] = at(x)
    const upper = (1 - u) * value(above, left) + u * value(above, right)
    const lower = (1 - u) * value(below, left) + u * value(below, right)
    out[SIZE * y + x] = (1 - v) * upper + v * lower
  }
  const top = Math.max(...out) || 1
  return out.map(v => v / top)
}
