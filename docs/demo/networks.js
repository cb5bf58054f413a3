// YuNet and nano, run by ONNX Runtime in this page. Both files are those of the Python package
const here = name => new URL(name, import.meta.url).href
let ort, yunet, nano

async function bytes(name) {
  const answer = await fetch(here(name))
  if (!answer.ok) throw Error(`${name}: ${answer.status}`)
  return new Uint8Array(await answer.arrayBuffer())
}

// YuNet's file asks for 640x640 pixels. A length is written as 08 80 05 (the number 640). The same
// three bytes can say 12 01 'h' (a length of any size, called h), and so the file takes all sizes
function anySize(onnx) {
  const begins = [0x0a, 5, ...new TextEncoder().encode('input'), 0x12] // the input's description
  const at = onnx.findIndex((_, i) => begins.every((v, k) => onnx[i + k] === v))
  const names = [...'hw'].map(c => c.charCodeAt(0))
  for (let i = at; at >= 0 && i < at + 60 && names.length; i++)
    if ([8, 0x80, 5].every((v, k) => onnx[i + k] === v)) onnx.set([0x12, 1, names.shift()], i)
  if (names.length) throw Error('models/yunet.onnx is not the file from 2023')
  return onnx
}

// One processor core: more need headers that a static server does not send
export async function load() {
  ort = await import('./ort/ort.wasm.min.mjs')
  Object.assign(ort.env.wasm, { numThreads: 1, wasmPaths: here('ort/') })
  const options = { executionProviders: ['wasm'], logSeverityLevel: 3 }
  const open = data => ort.InferenceSession.create(data, options)
  yunet = await open(anySize(await bytes('models/yunet.onnx')))
  nano = await open(await bytes('models/nano.onnx'))
}

async function run(session, name, type, data, shape) {
  const input = new ort.Tensor(type, data, shape), outputs = await session.run({ [name]: input })
  const found = {}
  for (const key in outputs) {
    found[key] = outputs[key].data
    outputs[key].dispose()
  }
  input.dispose()
  return found
}

// float32 blue, green, red of 0 to 255 -> cls_8, obj_8, bbox_8 for squares of 8 pixels, cls_16 ...
export const detect = (data, w, h) => run(yunet, 'input', 'float32', data, [1, 3, h, w])

// uint8 grey faces of 48x48 -> probs (n, classes) and cam (n, classes, 6, 6)
export const classify = (data, n) => run(nano, 'image', 'uint8', data, [n, 48, 48])
