"""The demo page in headless Chromium: from the address to ready, a photo, frames a second of a
fake camera of 640x480 and 30 frames a second, and where the milliseconds of a frame go

    python benchmarks/demo.py              10 s of the camera
    python benchmarks/demo.py --seconds 60
"""
import argparse, functools, http.server, os, shutil, subprocess, sys, tempfile, threading, time
from pathlib import Path
import matplotlib.cbook as cbook
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PARTS = """async () => {
  const faces = await import('./faces.js'), networks = await import('./networks.js')
  const pixels = await import('./pixels.js'), portrait = await fetch('photos/grace_hopper.jpg')
  const photo = await createImageBitmap(await portrait.blob())
  const pen = new OffscreenCanvas(640, 480).getContext('2d', {willReadFrequently: true})
  const grab = () => {
    pen.drawImage(photo, 0, 0, 640, 480)
    return pixels.picture(pen.getImageData(0, 0, 640, 480).data, 640, 480)
  }
  const frame = grab(), planes = new Float32Array(3*256*320), grey = new Uint8Array(48*48)
  const [face] = await faces.predict(frame, 320, 1)
  const work = {
    'read the frame': grab,
    'make it smaller': () => pixels.resized(frame, 320, 240),
    'YuNet at 320x256': () => networks.detect(planes, 320, 256),
    'cut out a face': () => faces.cropFace(frame, face),
    'nano': () => networks.classify(grey, 1),
    'heat map': () => faces.heatMap(face),
    'all of a frame but drawing': () => faces.predict(frame, 320, 1),
    'a photo of 512x600': () => faces.predict(pixels.photograph(photo)),
  }
  const medians = {}
  for (const name in work) {
    const times = []
    for (let i = 0; i < 31; i++) {
      const start = performance.now()
      await work[name]()
      times.push(performance.now() - start)
    }
    medians[name] = times.sort((a, b) => a - b)[15]
  }
  return medians
}"""
FRAMES = "import('./page.js').then(m => m.shown.frames)"


def fake_camera(folder):
    "A second of the public portrait, for Chromium's fake camera to repeat"
    photo = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
    fit = 'scale=-2:480,pad=640:480:(ow-iw)/2:0'
    subprocess.run(['ffmpeg', '-loglevel', 'error', '-loop', '1', '-framerate', '30', '-t', '1',
                    '-i', photo, '-vf', fit, '-pix_fmt', 'yuv420p', folder/'cam.y4m'], check=True)
    return folder/'cam.y4m'


def serve(folder):
    "The address of the demo on a server of static files"
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f'http://127.0.0.1:{server.server_port}/demo/index.html'


def measure(page, url, seconds):
    "Seconds until it is ready, frames a second, {part: milliseconds}"
    start = time.perf_counter()
    page.goto(url)
    page.locator('#status', has_text='Ready.').wait_for()
    ready = time.perf_counter()-start
    parts = page.evaluate(PARTS)
    page.click('#camera')
    page.click('text=Open it')
    page.wait_for_function(f'{FRAMES}.then(n => n > 15)')
    before, start = page.evaluate(FRAMES), time.perf_counter()
    page.wait_for_timeout(1000*seconds)
    return ready, (page.evaluate(FRAMES)-before)/(time.perf_counter()-start), parts


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument('--seconds', type=float, default=10)
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        tmp = Path(tmp)
        command = [sys.executable, ROOT/'docs/build.py', '--to', tmp/'site', 'demo']
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        flags = ['--no-sandbox', '--disable-gpu', '--use-fake-device-for-media-stream',
                 '--use-fake-ui-for-media-stream',
                 f'--use-file-for-fake-video-capture={fake_camera(tmp)}']
        browser = p.chromium.launch(executable_path=shutil.which('chromium'), args=flags)
        page = browser.new_context(permissions=['camera']).new_page()
        ready, rate, parts = measure(page, serve(tmp/'site'), args.seconds)
        browser.close()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print(f"{'address to ready':30}{ready:9.2f} s")
    print(f"{'camera, 640x480':30}{rate:9.1f} frames a second\n")
    for name, ms in parts.items(): print(f'{name:30}{ms:9.2f} ms')


if __name__ == '__main__': main()
