"""The demo page in Chromium, from a static file server under a sub-path and without a network: the
answers of Python, a camera, a keyboard, a phone, and one sentence for each bad input"""
import base64
import functools
import http.server
import io
import os
import re
import subprocess
import sys
import threading
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
MODULE = "import('./faces.js')"


@pytest.fixture(scope='module')
def address(site, tmp_path_factory, need):
    "The site under a sub-path of a server that knows nothing but files"
    need('npm', 'it fetches ONNX Runtime Web')
    if not (site/'demo/ort').exists(): pytest.skip("the site was built without ONNX Runtime Web")
    top = tmp_path_factory.mktemp('server')
    (top/SUB).parent.mkdir()
    (top/SUB).symlink_to(site)
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    handler = functools.partial(Quiet, directory=str(top))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/{SUB}/demo/index.html'
    server.shutdown()


@pytest.fixture
def visit(chromium, address):
    """`with visit() as page`: no other host has a name, and at the end none was asked. Only GET was
    used: nothing was uploaded"""
    @contextmanager
    def _visit(*flags, script=None, wait='Ready.', **context):
        alone = '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'
        with chromium(alone, *flags) as browser:
            page = browser.new_context(**context).new_page()
            bad = []
            ours = (address.partition('demo/')[0], 'data:', 'blob:')
            def check(r):
                if not r.url.startswith(ours) or r.method != 'GET': bad.append(r.method+' '+r.url)
            page.on('request', check)
            page.on('console', lambda m: m.type != 'error' or bad.append(m.text))
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
    "{name: bytes}: the two public portraits; one of them lying on its side; one see-through"
    import matplotlib.cbook as cbook
    import skimage.data
    path = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
    hopper, astronaut = open(path, 'rb').read(), skimage.data.astronaut()
    turned, clear = io.BytesIO(), np.dstack([astronaut, np.full(astronaut.shape[:2], 160, np.uint8)])
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
            measured(f'demo page, {name}: probabilities off by', f'{off:.5f}')
