"""The demo page in Chromium, from a static file server under a sub-path and without a network: the
answers of Python, a camera, a keyboard, a phone, and one sentence for each bad input"""
import base64
import io
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
import cv2
import numpy as np
import pytest
from PIL import Image
from fer_nbdev.core import EMOTIONS
from fer_nbdev.detect import crop_face, read_photo
from fer_nbdev.predict import load_predictor

SUB = 'some/sub-path'


@pytest.fixture(scope='module')
def address(site, tmp_path_factory, need, static_server):
    "The site under a sub-path of a server that knows nothing but files"
    need('npm', 'it fetches ONNX Runtime Web')
    if not (site/'demo/ort').exists(): pytest.skip("the site was built without ONNX Runtime Web")
    top = tmp_path_factory.mktemp('server')
    (top/SUB).parent.mkdir()
    (top/SUB).symlink_to(site)
    return f'{static_server(top)}{SUB}/demo/index.html'


@pytest.fixture
def visit(chromium, address):
    """`with visit() as page`: no other host has a name, and at the end none was asked. Only GET was
    used: nothing was uploaded. No error but `expected` stands in the console"""
    @contextmanager
    def _visit(*flags, script=None, wait='Ready.', expected='^$', **context):
        alone = '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'
        with chromium(alone, *flags) as browser:
            page = browser.new_context(**context).new_page()
            bad = []
            ours = (address.partition('demo/')[0], 'data:', 'blob:')
            def check(r):
                if not r.url.startswith(ours) or r.method != 'GET': bad.append(r.method+' '+r.url)
            page.on('request', check)
            def console(m):
                if m.type == 'error' and not re.search(expected, m.text): bad.append(m.text)
            page.on('console', console)
            page.on('pageerror', lambda e: bad.append(str(e)))
            page.on('response', lambda r: r.status < 400 or bad.append(f'{r.status} {r.url}'))
            if script: page.add_init_script(script)
            page.goto(address)
            if wait: said(page, wait)
            yield page
            assert not bad
    return _visit


def said(page, text):
    "Wait until the page's one sentence has `text` in it"
    page.locator('#status', has_text=text).wait_for(timeout=60_000)
    return page.locator('#status').inner_text()


def png(a):
    f = io.BytesIO()
    Image.fromarray(a).save(f, 'png')
    return f.getvalue()


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "{name: bytes}: the two public portraits; lying on a side; see-through; small"
    import matplotlib.cbook as cbook
    import skimage.data
    path = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
    hopper, astronaut = open(path, 'rb').read(), skimage.data.astronaut()
    clear = np.dstack([astronaut, np.full(astronaut.shape[:2], 160, np.uint8)])
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(np.rot90(astronaut)).save(turned, 'jpeg', quality=95, exif=exif)
    return {'grace_hopper.jpg': hopper, 'astronaut.png': png(astronaut),
            'turned.png': png(np.ascontiguousarray(np.rot90(read_photo(hopper)))),
            'exif.jpg': turned.getvalue(), 'see-through.png': png(clear),
            'small.png': png(cv2.resize(astronaut[:256, 100:356], (150, 150)))}


PREDICT = """async data => {
  const faces = await import('./faces.js'), pixels = await import('./pixels.js')
  const file = new Blob([Uint8Array.from(atob(data), c => c.charCodeAt(0))])
  const found = await faces.predict(pixels.photograph(await pixels.readPhoto(file)))
  return found.map(f => ({...f, maps: 0, pixels: [...f.pixels], heat: [...faces.heatMap(f)]}))
}"""


def overlap(p, q):
    w, h = (max(0, min(p[i]+p[i+2], q[i]+q[i+2])-max(p[i], q[i])) for i in (0, 1))
    return w*h/(p[2]*p[3]+q[2]*q[3]-w*h)


def test_answers_are_those_of_python(visit, photos, measured):
    "Boxes, probabilities, what the network sees, heat maps; of photos that lie on their side, too"
    pred = load_predictor('nano')
    with visit() as page:
        for name, data in photos.items():
            ours = pred.predict(data)
            page_s = page.evaluate(PREDICT, base64.b64encode(data).decode())
            assert ours and len(ours) == len(page_s), name
            off = 0
            for mine, other in zip(ours, page_s):
                assert overlap(mine.box, other['box']) >= .9, name
                assert mine.box.turn == other['turn'], name
                crop = crop_face(data, mine.box)
                off = max(off, np.abs(np.subtract(other['probabilities'],
                                                  list(mine.probabilities.values()))).max())
                if tuple(mine.box[:4]) == tuple(other['box']):
                    heat = pred.heat_map(crop[None])[0].ravel()
                    assert np.abs(heat-other['heat']).max() < .05, name
                    assert np.abs(crop.ravel()-np.float32(other['pixels'])).max() <= 4, name
            assert off <= .02, (name, off)
            measured(f'demo page, {name}: probabilities off by', f'{off:.1e}')


def choose(page, name, data):
    "Choose a photo, as by the button"
    page.set_input_files('#photo', dict(name=name, mimeType='', buffer=data))


def shares(page):
    "{class: percent} as the bars say it in words"
    rows = (r.split('\n') for r in page.locator('#bars li').all_inner_texts())
    return {name: int(share.rstrip(' %')) for name, share in rows}


def pixels(page, canvas):
    script = f"document.querySelector('{canvas}').getContext('2d').getImageData(0, 0, 48, 48).data"
    return np.array(page.evaluate(f'[...{script}]'))


def test_a_photo_gets_box_emoji_probabilities_and_heat_map(visit, photos):
    best = load_predictor('nano').predict(photos['astronaut.png'])[0]
    with visit() as page:
        assert not page.locator('#stage').is_visible()
        choose(page, 'astronaut.png', photos['astronaut.png'])
        said(page, f'1 face: {best.emotion} {best.probability:.0%}'.replace('%', ' %'))
        want = {e: round(100*p) for e, p in best.probabilities.items()}
        assert shares(page) == want and tuple(want) == EMOTIONS
        assert page.locator('#bars .first').inner_text().startswith(best.emotion)
        assert page.locator('#faces img').get_attribute('src').endswith(f'{best.emotion}.png')
        assert page.locator('#faces img').evaluate('i => i.naturalWidth') == 128
        grey, heat = pixels(page, '#seen'), pixels(page, '#heat')
        crop = crop_face(photos['astronaut.png'], best.box)
        assert (grey.reshape(48, 48, 4)[..., 0] == crop).mean() > .95
        redder = heat.reshape(48, 48, 4)[..., 0].astype(int)-heat.reshape(48, 48, 4)[..., 2]
        assert redder[16:32, 16:32].mean() > 50 > redder[:4].mean()
        before = page.locator('#view').screenshot()
        page.check('#overlay')
        assert page.locator('#view').screenshot() != before


def both(photos):
    "The two portraits side by side"
    a, b = (read_photo(photos[n])[:500, :500] for n in ('grace_hopper.jpg', 'astronaut.png'))
    return png(np.hstack([a, b]))


def test_each_face_can_be_chosen(visit, photos):
    data = both(photos)
    found = load_predictor('nano').predict(data)
    with visit() as page:
        choose(page, 'both.png', data)
        said(page, '2 faces: ')
        for i, p in enumerate(found):
            page.locator('#faces button').nth(i).press('Enter')
            assert shares(page) == {e: round(100*v) for e, v in p.probabilities.items()}
            pressed = page.locator('#faces [aria-pressed=true]')
            assert pressed.inner_text().startswith(f'Face {i+1}: {p.emotion}')
            assert page.locator('#for').inner_text() == p.emotion
        size, (x, y, w, h) = page.locator('#view').bounding_box(), found[0].box[:4]
        scale = size['width']/1000
        page.locator('#view').click(position=dict(x=scale*(x+w/2), y=scale*(y+h/2)))
        assert page.locator('#faces [aria-pressed=true]').inner_text().startswith('Face 1')


GIVE = """([data, kind]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), given = new DataTransfer()
  given.items.add(new File([bytes], 'given.png', {type: 'image/png'}))
  const options = {bubbles: true, cancelable: true}
  const event = kind == 'drop' ? new DragEvent('drop', {...options, dataTransfer: given})
    : new ClipboardEvent('paste', {...options, clipboardData: given})
  document.body.dispatchEvent(event)
}"""


@pytest.mark.parametrize('kind', ['drop', 'paste'])
def test_a_photo_can_be_dropped_and_pasted(visit, photos, kind):
    with visit() as page:
        page.evaluate(GIVE, [base64.b64encode(photos['astronaut.png']).decode(), kind])
        said(page, '1 face: happy')


@pytest.fixture(scope='module')
def camera(photos, tmp_path_factory, need):
    "Flags for a fake camera of 30 frames a second that looks at the portrait, and its first frame"
    ffmpeg = need('ffmpeg', 'it makes the fake camera')
    folder = tmp_path_factory.mktemp('camera')
    (folder/'photo.jpg').write_bytes(photos['grace_hopper.jpg'])
    fit = 'scale=-2:480,pad=640:480:(ow-iw)/2:0'
    subprocess.run([ffmpeg, '-loglevel', 'error', '-loop', '1', '-framerate', '30', '-t', '1',
                    '-i', folder/'photo.jpg', '-vf', fit, '-pix_fmt', 'yuv420p',
                    folder/'cam.y4m'], check=True, timeout=60)
    frame = cv2.VideoCapture(str(folder/'cam.y4m')).read()[1]
    flags = ('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
             f"--use-file-for-fake-video-capture={folder/'cam.y4m'}")
    return flags, np.ascontiguousarray(frame[..., ::-1])


KEEP_STREAM = """
const media = navigator.mediaDevices, get = media.getUserMedia.bind(media)
media.getUserMedia = async wish => window.opened = await get(wish)"""
COUNT = "import('./page.js').then(m => m.shown.frames)"


def test_camera(visit, camera, measured):
    "A notice first; then the answers of Python, frame after frame; after Stop it is off"
    flags, frame = camera
    best = load_predictor('nano').predict(frame, max_side=320)[0]
    with visit(*flags, permissions=['camera'], script=KEEP_STREAM) as page:
        page.click('#camera')
        assert 'Nothing is sent' in page.locator('#notice').inner_text()
        page.click('text=Not now')
        page.wait_for_timeout(300)
        assert page.evaluate('window.opened') is None and not page.locator('#stage').is_visible()
        page.click('#camera')
        page.click('text=Open it')
        said(page, 'The camera is on.')
        page.wait_for_function(f'{COUNT}.then(n => n > 5)')
        before, start = page.evaluate(COUNT), time.perf_counter()
        page.wait_for_timeout(5000)
        rate = (page.evaluate(COUNT)-before)/(time.perf_counter()-start)
        measured('demo page, fake camera of 640x480', f'{rate:.1f} frames/s')
        assert rate > 1
        face = page.evaluate("import('./page.js').then(m => m.shown.faces[0])")
        assert overlap(best.box, face['box']) > .9
        off = np.abs(np.subtract(face['probabilities'], list(best.probabilities.values()))).max()
        assert off < .05, off # the frame went through the browser's own colours
        assert 'frames a second' in page.locator('#rate').inner_text()
        page.click('#stop')
        said(page, 'The camera is off.')
        assert page.evaluate("opened.getTracks().every(t => t.readyState == 'ended')")


def test_by_keyboard_alone(visit, camera):
    "From the camera to a portrait and its heat map; the focus is always to be seen"
    def focused(page): return page.evaluate("document.activeElement.id")
    with visit(*camera[0], permissions=['camera']) as page:
        while focused(page) != 'camera': page.keyboard.press('Tab')
        page.keyboard.press('Enter')
        assert page.evaluate("document.activeElement.textContent") == 'Open it'
        page.keyboard.press('Escape')
        assert focused(page) == 'camera' and not page.locator('#notice').is_visible()
        page.keyboard.press('Enter')
        page.keyboard.press('Enter')
        said(page, 'The camera is on.')
        assert focused(page) == 'stop'
        page.keyboard.press('Enter')
        said(page, 'The camera is off.')
        assert focused(page) == 'camera'
        page.keyboard.press('Tab')
        assert focused(page) == 'photo'
        outline = "getComputedStyle(document.querySelector('.button')).outlineStyle"
        assert page.evaluate(outline) == 'solid'
        page.keyboard.press('Tab')
        page.keyboard.press('Enter')
        said(page, '1 face: ')
        while focused(page) != 'overlay': page.keyboard.press('Tab')
        page.keyboard.press('Space')
        assert page.locator('#overlay').is_checked()


def contrast(a, b):
    "WCAG's contrast of two colours as the browser computes them"
    def light(c):
        channels = np.array(re.findall(r'[\d.]+', c)[:3], float)/255
        linear = np.where(channels > .04, ((channels+.055)/1.055)**2.4, channels/12.92)
        return linear @ (.2126, .7152, .0722)
    low, high = sorted((light(a), light(b)))
    return (high+.05)/(low+.05)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_on_a_phone_in_light_and_dark(visit, photos, scheme):
    with visit(viewport=dict(width=390, height=844), color_scheme=scheme) as page:
        choose(page, 'both.png', both(photos))
        said(page, '2 faces: ')
        page.evaluate('scrollTo(9999, scrollY)')
        assert page.evaluate('[document.documentElement.scrollWidth, scrollX]') == [390, 0]
        for control in page.locator('#demo :is(button, .button, .under label)').all():
            box = control.bounding_box()
            if box: assert box['height'] >= 24 and box['x'] >= 0 and box['x']+box['width'] <= 390
        style = "e => [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor]"
        for text in page.locator('#status, #bars span:nth-of-type(1), .crops figcaption').all():
            assert contrast(*text.evaluate(style)) > 4.5


def cut(data): return data[:len(data)//3]


def test_bad_photos(visit, photos):
    "Each has one clear sentence, and the next good photo is answered"
    huge = io.BytesIO()
    Image.new('1', (10_000, 10_000)).save(huge, 'png')
    unreadable = 'is not a picture that this browser can read. Choose a .jpg, .png or .webp file.'
    markup = '<img src=x onerror=alert(1)>.png'
    heic = 'is a HEIC picture, which this browser cannot read. Choose a .jpg, .png or .webp file.'
    cases = {
        'iphone.jpg': (b'\0\0\0\x18ftypheic'+b'\0'*99, f'iphone.jpg {heic}'),
        'text.jpg': (b'no picture at all', f'text.jpg {unreadable}'),
        'empty.png': (b'', f'empty.png {unreadable}'),
        'cut.png': (cut(photos['astronaut.png']), f'cut.png {unreadable}'),
        'huge.png': (huge.getvalue(), 'huge.png has 100 million pixels, and this page takes 60'),
        'grey.png': (png(np.full((300, 400, 3), 128, np.uint8)), 'No face was found in grey.png'),
        'point.png': (png(np.zeros((1, 1, 3), np.uint8)), 'No face was found in point.png'),
        markup: (b'x', f'{markup} {unreadable}'),
    }
    with visit() as page:
        for name, (data, want) in cases.items():
            choose(page, name, data)
            assert said(page, want).count('. ') <= 1, name
            choose(page, 'good.png', photos['astronaut.png'])
            said(page, '1 face: happy')


DENY = ('--use-fake-device-for-media-stream', '--deny-permission-prompts')
NO_MEDIA = "Object.defineProperty(navigator, 'mediaDevices', {value: undefined})"
BROKEN = {
    'no WebAssembly': (dict(script='delete window.WebAssembly'), None,
                       'This browser has no WebAssembly, or it is switched off.'),
    'network lost': (dict(script="fetch = async () => { throw TypeError('no connection') }"), None,
                     'The networks could not be loaded (no connection). Load the page again.'),
    'refused': (dict(flags=DENY), 'camera', 'The camera was refused. Allow it'),
    'absent': (dict(permissions=['camera']), 'camera', 'No camera was found.'),
    'in use': (dict(script="navigator.mediaDevices.getUserMedia = async () => { throw new "
                    "DOMException('', 'NotReadableError') }"), 'camera', 'in use elsewhere'),
    'no https': (dict(script=NO_MEDIA), 'camera', 'to pages from https or localhost.'),
}


@pytest.mark.parametrize('case', BROKEN)
def test_a_browser_that_lacks_something(visit, photos, case):
    "One clear sentence; where the camera is missing, photos still work"
    context, button, want = BROKEN[case]
    flags = context.get('flags', ())
    context = {k: v for k, v in context.items() if k != 'flags'}
    with visit(*flags, wait='Ready.' if button else want, **context) as page:
        if not button: return
        page.click(f'#{button}')
        page.click('text=Open it')
        said(page, want)
        choose(page, 'good.png', photos['astronaut.png'])
        said(page, '1 face: happy')


def test_a_camera_that_goes_while_it_runs(visit, camera):
    with visit(*camera[0], permissions=['camera'], script=KEEP_STREAM) as page:
        page.click('#camera')
        page.click('text=Open it')
        said(page, 'The camera is on.')
        page.evaluate("opened.getTracks()[0].dispatchEvent(new Event('ended'))")
        said(page, 'The camera is gone.')
        assert page.locator('#camera').is_visible()


def test_the_page_forbids_itself_other_hosts(visit):
    with visit(expected='Content Security Policy') as page:
        script = "fetch('http://127.0.0.1:9/', {method: 'POST'}).then(() => 'sent', e => e.message)"
        assert page.evaluate(script) == 'Failed to fetch'


def test_the_search_works_under_that_policy(visit):
    with visit() as page:
        page.fill('#ui-search', 'Grad-CAM')
        page.locator('#ui-results a[href*="gradcam.html"]').first.wait_for()


def test_what_lies_beside_the_page(site, address):
    "Of ONNX Runtime three files, with their licence; the networks as they are in the package"
    names = ['ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm', 'ort.wasm.min.mjs']
    assert sorted(f.name for f in (site/'demo/ort').iterdir()) == names
    assert 'Microsoft' in (site/'demo/LICENSES.txt').read_text()
    packaged = load_predictor('nano').path.read_bytes()
    assert (site/'demo/models/nano.onnx').read_bytes() == packaged


NO_NPM = {
    'npm missing': (dict(PATH='/nowhere'), 'npm was not installed'),
    'no registry': (dict(npm_config_registry='http://127.0.0.1:9/', npm_config_fetch_retries='0'),
                    'npm could not reach the registry'),
    'another package': (dict(PATH='{}'), 'what npm fetched did not have the pinned hash'),
}


@pytest.mark.parametrize('case', NO_NPM)
def test_without_npm_the_page_says_so(copy_tree, need, tmp_path, case):
    "One line names it, another file of that name is not taken, and the rest is built as always"
    need('npm')
    env, why = NO_NPM[case]
    (tmp_path/'npm').write_text('#!/bin/sh\necho something else > package.tgz\n')
    (tmp_path/'npm').chmod(0o755)
    top = copy_tree()
    (top/'.cache').mkdir()
    (top/'.cache/onnxruntime-web@1.30.0.tgz').write_bytes(b'another package')
    env = {k: v.format(tmp_path) for k, v in env.items()}
    env = {**os.environ, 'npm_config_cache': str(tmp_path/'cache'), **env}
    command = [sys.executable, top/'docs/build.py', '--to', top/'out', 'demo', '00']
    r = subprocess.run(command, cwd=top, env=env, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stdout + r.stderr
    notes = [l for l in r.stderr.splitlines() if 'onnxruntime-web' in l]
    assert len(notes) == 1 and why in notes[0]
    page = (top/'out/demo/index.html').read_text(encoding='utf-8')
    assert why in page and 'onnxruntime-web' in page and 'page.js' not in page
    assert (top/'out/whole_game.html').exists() and not (top/'out/demo/ort').exists()
