"""The demo page: docs/demo/, with settings, networks and emoji of the package, two portraits, and
ONNX Runtime Web from npm, checked against its pinned hash. Without it the page says what is
missing"""
import base64
import hashlib
import inspect
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from PIL import Image
from render import HERE, ROOT, Page

DEMO, CACHE = HERE/'demo', ROOT/'.cache'
RUNTIME = json.loads((DEMO/'runtime.json').read_text(encoding='utf-8'))
PACKAGE = f"{RUNTIME['name']}@{RUNTIME['version']}"
URL = 'demo/index.html' # As _quarto.yml lists it
LARGEST = 60_000_000 # Pixels of a photo: those of a phone pass, and unpacked they fit its memory
# Only this site is asked for anything, and nothing is sent elsewhere
POLICY = ("default-src 'self' data: blob:; connect-src 'self'; form-action 'none'; "
          "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'")
MISSING = """::: {{.callout-warning}}
## The demo is not in this copy of the site
It needs `{package}` from the npm registry. When the site was built, {why}.
Build it again where npm can fetch that package: `make docs`.
:::"""


class NoRuntime(Exception): "Why ONNX Runtime Web is not here, as the end of a sentence"


def is_pinned(data):
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    return RUNTIME['integrity'] == f'sha512-{digest}'


def fetch():
    "The package from the npm registry, as bytes"
    npm = shutil.which('npm')
    if not npm: raise NoRuntime("npm was not installed")
    with tempfile.TemporaryDirectory() as tmp:
        command = [npm, 'pack', PACKAGE, '--silent', '--fetch-retries=1']
        try: r = subprocess.run(command, cwd=tmp, capture_output=True, timeout=300)
        except subprocess.TimeoutExpired: raise NoRuntime("npm did not answer in time") from None
        packed = [*Path(tmp).glob('*.tgz')]
        if r.returncode or not packed: raise NoRuntime("npm could not reach the registry")
        return packed[0].read_bytes()


def runtime():
    "The package, as bytes that match the pinned hash: kept in .cache/ by an earlier build, or new"
    kept = CACHE/f"{PACKAGE}.tgz"
    if kept.exists() and is_pinned(kept.read_bytes()): return kept.read_bytes()
    data = fetch()
    if not is_pinned(data): raise NoRuntime("what npm fetched did not have the pinned hash")
    CACHE.mkdir(exist_ok=True)
    part = kept.with_suffix('.part')
    part.write_bytes(data)
    part.replace(kept)
    return data


def unpack(data, to):
    "The three files that a page needs, and no others"
    to.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for f in RUNTIME['files']:
            (to/f).write_bytes(tar.extractfile(f'package/dist/{f}').read())


def write_settings(to):
    "What Python decides, for JavaScript"
    from fer_nbdev.core import COLORS, EMOTIONS
    from fer_nbdev.detect import CROP_FACTOR, _UPRIGHT_SCORE, find_faces
    defaults = inspect.signature(find_faces).parameters
    values = dict(EMOTIONS=EMOTIONS, COLORS=[COLORS[e] for e in EMOTIONS], CROP_FACTOR=CROP_FACTOR,
                  UPRIGHT_SCORE=_UPRIGHT_SCORE, MIN_SCORE=defaults['min_score'].default,
                  MAX_SIDE=defaults['max_side'].default, MAX_PIXELS=LARGEST)
    lines = [f'export const {k} = {json.dumps(v)}\n' for k,v in values.items()]
    to.write_text('// From fer_nbdev, by docs/demo_page.py\n' + ''.join(lines), encoding='utf-8')


def write_pictures(to):
    "Emoji drawn by our own code, and the two portraits that the pages use too"
    import matplotlib.cbook
    import skimage.data
    from fer_nbdev.core import EMOTIONS
    from fer_nbdev.drawing import draw_emoji
    for folder in ('emoji', 'photos'): (to/folder).mkdir()
    for e in EMOTIONS: Image.fromarray(draw_emoji(e, 128)).save(to/f'emoji/{e}.png')
    hopper = matplotlib.cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
    shutil.copyfile(hopper, to/'photos/grace_hopper.jpg')
    Image.fromarray(skimage.data.astronaut()).save(to/'photos/astronaut.jpg', quality=92)


def write_networks(to):
    from fer_nbdev.detect import _yunet_path
    from fer_nbdev.predict import load_predictor
    to.mkdir()
    shutil.copyfile(_yunet_path(), to/'yunet.onnx')
    shutil.copyfile(load_predictor('nano').path, to/'nano.onnx')


def write_demo(out):
    "All files of the demo but its page, into `out`/demo; the page itself, for `render`"
    to = out/'demo'
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    app = '```{=html}\n' + (DEMO/'app.html').read_text(encoding='utf-8') + '\n```'
    try: unpack(runtime(), to/'ort')
    except NoRuntime as e:
        print(f"note: the demo page is without {PACKAGE}: {e}", file=sys.stderr)
        app = MISSING.format(package=PACKAGE, why=e)
    else:
        for f in (*DEMO.glob('*.js'), DEMO/'demo.css', DEMO/'LICENSES.txt'):
            shutil.copyfile(f, to/f.name)
        write_settings(to/'settings.js')
        write_pictures(to)
        write_networks(to/'models')
    cells = [dict(cell_type='markdown', source=s)
             for s in (app, (DEMO/'page.md').read_text(encoding='utf-8'))]
    return Page(dict(cells=cells), URL, 'Try it in your browser',
                'A photo or your camera, answered by this page itself: nothing is uploaded', URL,
                policy=POLICY)
