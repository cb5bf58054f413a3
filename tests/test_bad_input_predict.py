"Bad photos, boxes, batches, names and files: one error that says what, where, how to mend it"
import io, multiprocessing, os, pickle, re, shutil, socket, struct, subprocess, sys, tempfile, zlib
from functools import partial
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from fer_nbdev import detect
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev.detect import FaceBox, _yunet_path, crop_face, find_faces, read_photo
from fer_nbdev.predict import Prediction, Predictor, _cores, list_predictors, load_predictor
from fer_nbdev.video import predict_video

GREY = np.full((60, 80), 128, np.uint8)
X = np.zeros((3, 48, 48), np.uint8)
FACES = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)


def encoded(kind='png', im=GREY, **kw):
    buf = io.BytesIO()
    Image.fromarray(im).save(buf, kind, **kw)
    return buf.getvalue()


def chunk(kind, data):
    check = struct.pack('>I', zlib.crc32(kind + data))
    return struct.pack('>I', len(data)) + kind + data + check


def bomb(w=60_000, h=60_000):
    "A PNG of a few bytes that claims to be 60,000 pixels wide and high"
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 0, 0, 0, 0))
    body = chunk(b'IDAT', zlib.compress(b'\0' * 99))
    return b'\x89PNG\r\n\x1a\n' + head + body + chunk(b'IEND', b'')


def run(code, *args, **env):
    "What a fresh Python does with `code`; it is stopped where it hangs"
    return subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True,
                          env=dict(os.environ, **env), timeout=120)


FILES = { # contents, what the error says
    'empty': (b'', 'empty'),
    'html': (b'<html><body>Not found</body></html>', 'not a picture'),
    'HEIC': (b'\0\0\0\x18ftypheic' + b'\0'*12, 'a HEIC picture; .*pip install pillow-heif'),
    'header': (b'\x89PNG\r\n\x1a\n', 'not a picture'),
    'jpeg': (encoded('jpeg', NOISE)[:9000], 'damaged or cut short'),
    'png': (encoded('png', NOISE)[:9000], 'damaged or cut short'),
    'bomb': (bomb(), 'million pixels'),
    '20,000 x 20,000': (bomb(20_000, 20_000), 'million pixels'),
    'one that Pillow only warns of': (bomb(12_000, 11_000), 'million pixels'),
    'floats': (encoded('tiff', np.full((60, 80), np.inf, np.float32)), '32 bits a pixel'),
    'EPS': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n', 'a drawing, exp'),
    '32-bit numbers': (encoded('tiff', np.full((60, 80), 70_000, np.int32)), '32 bits a pixel'),
}


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('case', FILES)
def test_bad_file(tmp_path, case):
    data, says = FILES[case]
    f = tmp_path/'photo.jpg'
    f.write_bytes(data)
    for read in (find_faces, load_predictor().predict):
        with pytest.raises(ValueError, match=f'photo.jpg: .*{says}'): read(f)
        with pytest.raises(ValueError, match=f'photo: .*{says}'): read(data)
        with pytest.raises(ValueError, match=f'photo: .*{says}'): read(io.BytesIO(data))
        with open(f, 'rb') as file:
            with pytest.raises(ValueError, match=f'photo.jpg: .*{says}'): read(file)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nobody.jpg: no such file'):
        find_faces(tmp_path/'nobody.jpg')
    with pytest.raises(IsADirectoryError, match='a folder'): find_faces(tmp_path)


DOORS = {'photo': read_photo, 'network': load_predictor, 'video': predict_video}


@pytest.mark.parametrize('door', DOORS.values(), ids=DOORS)
def test_an_address_is_no_file(door):
    with pytest.raises(ValueError, match='https://a.org/b.onnx: an address, .*; download it'):
        door('https://a.org/b.onnx')


@pytest.mark.parametrize('door', DOORS.values(), ids=DOORS)
def test_a_name_that_is_too_long(door):
    with pytest.raises(OSError, match='x{200}: File name too long'): door('x'*300+'.onnx')


@pytest.mark.skipif(os.name != 'posix', reason='permissions of Unix')
@pytest.mark.parametrize('door', DOORS.values(), ids=DOORS)
@pytest.mark.parametrize('closed', ['file', 'folder'])
def test_what_we_may_not_read(door, closed, monkeypatch):
    "Root may read anything, so root becomes nobody for a moment"
    top = Path(tempfile.mkdtemp())
    (top/'in').mkdir()
    path = top/'in/x.onnx'
    path.write_bytes(b'x')
    top.chmod(0o755)
    (path if closed == 'file' else path.parent).chmod(0)
    ids = os.geteuid(), (os.geteuid() or 65534)
    try:
        os.seteuid(ids[1])
        # os.access asks for the real user, who is still root
        monkeypatch.setattr(os, 'access', partial(os.access, effective_ids=True))
        with pytest.raises(PermissionError, match='x.onnx: ([Pp]ermission denied|no permission)'):
            door(path)
    finally:
        os.seteuid(ids[0])
        path.parent.chmod(0o755)
        shutil.rmtree(top)


@pytest.mark.parametrize('door', ['detect.read_photo', 'predict.load_predictor'])
@pytest.mark.parametrize('kind', ['pipe', 'socket', 'device'])
def test_what_never_ends_is_refused(tmp_path, door, kind):
    "A named pipe would be waited for, a device read for ever"
    path = tmp_path/'x.onnx'
    if kind == 'pipe': os.mkfifo(path)
    if kind == 'socket': socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))
    if kind == 'device': path.symlink_to('/dev/zero')
    module, name = door.split('.')
    r = run(f'import sys; from fer_nbdev.{module} import {name} as f; f(sys.argv[1])', path)
    last = r.stderr.decode().splitlines()[-1]
    assert re.match(r'ValueError: .*x\.onnx: a pipe, socket or device, expected .*copy', last), last


def test_a_file_of_1_gb_is_refused_before_reading(tmp_path):
    path = tmp_path/'large.png'
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', 48, 48, 8, 0, 0, 0, 0))
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + header + struct.pack('>I', 10**9) + b'junk')
    os.truncate(path, 10**9)
    code = ("import resource, sys; from fer_nbdev.detect import read_photo\n"
            "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "before = peak()\n"
            "for get in (lambda: sys.argv[1], lambda: open(sys.argv[1], 'rb')):\n"
            "    try: read_photo(get())\n"
            "    except ValueError as e: print(e)\n"
            "print((peak()-before)//1024)")
    by_path, by_file, mb = run(code, path).stdout.decode().splitlines()
    assert 'large.png: 1,000 MB, more than 250 MB' in by_path
    assert 'large.png' in by_file and 'more than 250 MB' in by_file
    assert int(mb) < 500


PHOTOS = {
    'nothing': (None, TypeError, 'NoneType'),
    'list': ([[0, 1]], TypeError, 'list'),
    'number': (np.uint8(3), TypeError, 'uint8'),
    'bytes of no picture': (b'abc', ValueError, 'not a picture'),
    'no bytes': (b'', ValueError, 'empty'),
    'text': (io.StringIO('abc'), TypeError, "mode 'rb'"),
    'closed file': (io.BytesIO(), ValueError, 'cannot be read'),
    'floats': (GREY.astype(float), ValueError, 'float64.*uint8'),
    'uint16': (GREY.astype(np.uint16), ValueError, 'uint16'),
    'bool': (GREY > 3, ValueError, 'bool'),
    'four axes': (np.zeros((2, 3, 4, 3), np.uint8), ValueError, r'\(2, 3, 4, 3\)'),
    'two channels': (np.zeros((60, 80, 2), np.uint8), ValueError, r'\(60, 80, 2\)'),
    'no rows': (np.zeros((0, 80, 3), np.uint8), ValueError, r'\(0, 80, 3\)'),
    'Pillow floats': (Image.new('F', (80, 60)), ValueError, '32 bits a pixel'),
}
PHOTOS['closed file'][0].close()


@pytest.mark.parametrize('case', PHOTOS)
def test_bad_photo(case):
    photo, error, says = PHOTOS[case]
    with pytest.raises(error, match=f'photo: .*{says}'): find_faces(photo)


def test_bytes_have_a_limit(monkeypatch):
    monkeypatch.setattr(detect, '_MAX_BYTES', 1000)
    for photo in (bytes(1001), io.BytesIO(bytes(10**6))):
        with pytest.raises(ValueError, match='photo: 0 MB, more than 0 MB'): read_photo(photo)


def test_bytes_and_files_are_read_like_paths(tmp_path):
    path = tmp_path/'photo.png'
    path.write_bytes(encoded(im=NOISE))
    with open(path, 'rb') as file: assert (read_photo(file) == NOISE).all()
    data = path.read_bytes()
    for photo in (data, bytearray(data), io.BytesIO(data)):
        assert (read_photo(photo) == NOISE).all()


@pytest.mark.parametrize('name,value', [
    *(('min_score', v) for v in (-1, 2, np.nan, '.7', None)),
    *(('max_side', v) for v in (0, -320, 640.5, np.inf, None)),
    *(('align', v) for v in ('yes', 2, None)),
])
def test_bad_search(name, value):
    for search in (find_faces, load_predictor('nano').predict):
        with pytest.raises(ValueError, match=f'{name}: .*, expected (a |True or False)'):
            search(GREY, **{name: value})
    if name != 'align': return
    with pytest.raises(ValueError, match='explain: .*, expected True or False'):
        load_predictor('nano').predict(GREY, explain=value)


@pytest.mark.parametrize('shape', [(1, 1), (1, 1, 3), (1, 1, 4), (2, 1), (7, 7), (8, 8), (1, 3000),
                                   (3000, 1), (3, 4000, 3), (9, 2000), (2000, 30)])
@pytest.mark.parametrize('value', [0, 255, 'noise'])
def test_tiny_or_thin_photo_has_no_face(shape, value):
    im = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if value != 'noise': im[:] = value
    assert find_faces(im) == []
    assert load_predictor('nano').predict(im) == []
    assert crop_face(im, (0, 0, 1, 1)).shape == (48, 48)


@pytest.mark.parametrize('box,says', [
    ((0, 0, 0, 5), 'above 0'), ((0, 0, 5, -1), 'above 0'), ((np.nan, 0, 5, 5), 'above 0'),
    ((0, np.inf, 5, 5), 'above 0'), ((80, 0, 5, 5), 'outside the photo of 80x60'),
    ((-5, -5, 5, 5), 'outside'), ((0, 60, 5, 5), 'outside'),
])
def test_bad_box(box, says):
    with pytest.raises(ValueError, match=f'box: .*{says}'): crop_face(GREY, box)


def test_crop_at_the_edge():
    beyond = [(-10, -10, 20, 20), (75, 55, 20, 20), (-500, -500, 2000, 2000)]
    for box in [*beyond, FaceBox(0, 0, 80, 60, .9, 3)]:
        out = crop_face(GREY, box)
        assert out.shape == (48, 48) and out.dtype == np.uint8 and (out == 128).all()


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'I;16'])
def test_any_mode_of_pillow(mode):
    im = Image.new('L', (8, 6), 200).convert('RGB')
    if mode == 'I;16': im = Image.fromarray(np.full((6, 8), 200*257, np.uint16))
    else: im = im.convert(mode)
    out = read_photo(im)
    assert out.shape == (6, 8, 3) and out.dtype == np.uint8
    if mode not in ('1', 'P'): assert abs(out.astype(int)-200).max() <= 2


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(orientation, tmp_path):
    stored = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    f = tmp_path/'held.png'
    Image.fromarray(stored).save(f, exif=exif)
    turns = {1: (0, 0), 2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}
    turn, mirror = turns[orientation]
    want = np.rot90(stored, turn)
    assert (read_photo(f) == (want[:, ::-1] if mirror else want)).all()


def test_transparent_is_white():
    im = np.zeros((6, 8, 4), np.uint8)
    assert (read_photo(im) == 255).all()


@pytest.mark.parametrize('x,says', [
    (X/255, 'float64.*255'),
    (X.astype(np.float32), 'float32'),
    (X.astype(np.int64), 'int64'),
    (X[0], r'\(48, 48\).*x\[None\]'),
    (X[:, :47], r'\(3, 47, 48\)'),
    (X[:, None], r'\(3, 1, 48, 48\)'),
    (np.uint8(0), r'shape \(\)'),
    ([], 'float64'),
    ('photo.jpg', 'predict'),
])
def test_bad_batch(x, says):
    for f in (load_predictor().predict_proba, load_predictor().heat_map):
        with pytest.raises(ValueError, match=f'x: .*{says}'): f(x)


def test_empty_batch():
    for flip in (False, True):
        p = load_predictor(classes=FIVE, flip=flip)
        assert p.predict_proba(X[:0]).shape == (0, 5)
        assert p.heat_map(X[:0]).shape == (0, 48, 48)


@pytest.mark.parametrize('target', ['joy', 7, -1, 1.5, [0, 1], [0, 1, 9], None.__class__])
def test_bad_target(target):
    with pytest.raises(ValueError, match='target: '): load_predictor().heat_map(X, target)


def test_target_by_name_number_and_array():
    p, five, x = load_predictor(), load_predictor(classes=FIVE), FACES[:3]
    i = p.classes.index('happy')
    assert (p.heat_map(x, 'happy') == p.heat_map(x, i)).all()
    assert (p.heat_map(x, [i]*3) == p.heat_map(x, i)).all()
    assert (p.heat_map(x, np.arange(3))[1] == p.heat_map(x, 1)[1]).all()
    assert (five.heat_map(x, 0) == p.heat_map(x, 'angry')).all()
    best = [p.classes.index(five.classes[k]) for k in five.predict_proba(x).argmax(1)]
    assert (five.heat_map(x) == p.heat_map(x, best)).all()


@pytest.mark.parametrize('classes,says', [
    (('joy',), 'joy'), ((), 'none'), ('happy', "'h'"), (('happy', 'happy'), 'happy more than once'),
    (('sad', 'happy', 'sad', 'happy'), 'happy, sad more than once'),
])
def test_bad_classes(classes, says):
    with pytest.raises(ValueError, match=f'classes: .*{says}'): load_predictor(classes=classes)


@pytest.mark.parametrize('name,says', [
    ('smal', "did you mean 'small'"), ('Nano', "did you mean 'nano'"),
    ('zzz', 'expected one of'), ('', 'expected one of'),
])
def test_unknown_name(name, says):
    with pytest.raises(ValueError, match=says): load_predictor(name)


@pytest.mark.parametrize('threads', [-1, 1.5, '2', None])
def test_bad_threads(threads):
    with pytest.raises(ValueError, match='threads: .*, expected a whole number'):
        load_predictor(threads=threads)


@pytest.mark.parametrize('threads', [1, 9999, np.int64(9999)])
def test_at_most_as_many_threads_as_cores(threads):
    p = load_predictor('nano', threads=threads)
    assert p._sess.get_session_options().intra_op_num_threads == min(threads, _cores())


def test_bad_onnx(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.onnx: no such file'):
        load_predictor(tmp_path/'none.onnx')
    junk = 'not an ONNX file'
    pickled = pickle.dumps(dict(weights=[1., 2.]))
    for data, says in ((b'', 'empty'), (b'abc', junk), (b'\0'*999, junk), (pickled, junk)):
        (tmp_path/'bad.onnx').write_bytes(data)
        with pytest.raises(ValueError, match=f'bad.onnx: {says}'):
            load_predictor(tmp_path/'bad.onnx')
    with pytest.raises(IsADirectoryError, match='a folder, expected an .onnx file'):
        load_predictor(os.fspath(tmp_path)+'/')
    with pytest.raises(ValueError, match='expected image tensor.*export_onnx'):
        load_predictor(_yunet_path())


NETWORKS = { # class names in the file, batch size, what the error says
    'five names for seven outputs': (FIVE, None, '5 class names for outputs of shape'),
    'eight names': ((*EMOTIONS, 'bored'), None, '8 class names for outputs of shape'),
    'a name twice': (('happy', *EMOTIONS[1:]), None, 'duplicate or an empty name'),
    'an empty name': (('', *EMOTIONS[1:]), None, 'duplicate or an empty name'),
    'no names': ((), None, 'class names in its metadata'),
    'a batch size that is fixed': (EMOTIONS, 1, 'cannot answer for two faces'),
}


@pytest.mark.parametrize('case', NETWORKS)
def test_network_that_does_not_fit_its_class_names(tmp_path, case):
    onnx = pytest.importorskip('onnx')
    names, batch, says = NETWORKS[case]
    net = onnx.load(load_predictor('nano').path)
    for p in net.metadata_props:
        if p.key == 'classes': p.value = ','.join(names)
    if batch: net.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    onnx.save(net, tmp_path/'mine.onnx')
    with pytest.raises(ValueError, match=f'mine.onnx: .*{says}.*export_onnx'):
        load_predictor(tmp_path/'mine.onnx')


def test_packaged_networks_know_all_classes():
    assert {'small', 'nano'} <= set(list_predictors())
    for name in list_predictors():
        p = load_predictor(name)
        assert p.classes == EMOTIONS and p.name == name
        assert Predictor(p.path).predict_proba(X).shape == (3, 7)


def test_a_pickled_copy_answers_the_same(tmp_path):
    "Also where the file is gone or another one stands in its place"
    path = tmp_path/'mine.onnx'
    path.write_bytes(load_predictor('nano').path.read_bytes())
    p = load_predictor(path, classes=FIVE, flip=True)
    data = pickle.dumps(p)
    path.unlink()
    copy = pickle.loads(data)
    assert (copy.predict_proba(FACES) == p.predict_proba(FACES)).all()
    assert (copy.heat_map(FACES) == p.heat_map(FACES)).all()
    assert repr(copy) == repr(p) and copy.path == p.path


def test_processes_that_are_spawned():
    p = load_predictor('nano')
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        got = pool.map(p.predict_proba, [FACES[:2], FACES[2:]])
    assert np.abs(np.concatenate(got)-p.predict_proba(FACES)).max() < 1e-6


@pytest.mark.parametrize('name', ['nano', 'small'])
def test_flip_is_the_mean_of_both_views(name):
    p, flip = load_predictor(name), load_predictor(name, flip=True)
    mirrored = np.ascontiguousarray(FACES[..., ::-1])
    one, other = p.predict_proba(FACES), p.predict_proba(mirrored)
    assert np.abs(one-other).max() > 1e-3, 'nothing to compare'
    assert np.abs(flip.predict_proba(FACES)-(one+other)/2).max() < 1e-6
    assert (flip.predict_proba(mirrored) == flip.predict_proba(FACES)).all()
    heat, other = flip.heat_map(FACES, 'sad'), flip.heat_map(mirrored, 'sad')
    assert np.abs(heat-other[..., ::-1]).max() < 1e-6


def test_bad_flip():
    with pytest.raises(ValueError, match="flip: 'yes', expected True or False"):
        load_predictor(flip='yes')


ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT/'README.md').read_text(encoding='utf-8')
README = re.search(r'```python\n(.*?load_predictor.*?)```', PAGE, re.S)[1]
PREDICTOR = r"p = load_predictor(); p.name = '\u00e9moji'; print(p)"


@pytest.mark.parametrize('code', [
    README,
    README.replace('print(p)', 'print([p], p.emoji.isascii())'),
    f'from fer_nbdev.predict import load_predictor; {PREDICTOR}',
], ids=['README', 'list', 'predictor'])
@pytest.mark.parametrize('encoding', ['ascii', 'cp1252', 'utf-8'])
def test_prints_on_any_terminal(code, encoding):
    r = run(code, PYTHONIOENCODING=encoding, LANG='C', LC_ALL='C', PYTHONUTF8='0')
    assert r.returncode == 0, r.stderr.decode()
    said = r.stdout.decode(encoding)
    assert said.strip()
    if 'Predictor(' in said: return
    assert (r'\N{' in said) == (encoding != 'utf-8')


def test_an_emoji_degrades_to_its_name():
    p = Prediction(FaceBox(1, 2, 3, 4), 'sad', '😢', .5, {'sad': .5})
    code = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])))"
    r = run(code, pickle.dumps(p).hex(), PYTHONIOENCODING='ascii')
    assert r.stdout.decode().strip() == r'\N{CRYING FACE} sad 50% at x=1, y=2, 3x4'
    assert str(p) == '😢 sad 50% at x=1, y=2, 3x4'


@pytest.mark.parametrize('turn', (0, 1, 3))
def test_a_cat_is_not_a_face(turn):
    "YuNet sees a face in it upside down, at .83: too low for a photo that we had to turn"
    cat = pytest.importorskip('skimage.data').chelsea()
    assert find_faces(np.rot90(cat, turn)) == []
