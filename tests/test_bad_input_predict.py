"Bad photos, boxes, batches, names and files: one clear error that says what, where and how to mend it"
import io, os, struct, zlib
import numpy as np
import pytest
from PIL import Image
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev.detect import Face, crop_face, find_faces, read_photo
from fer_nbdev.predict import Predictor, list_predictors, load_predictor

GREY = np.full((60, 80), 128, np.uint8)
X = np.zeros((3, 48, 48), np.uint8)


def encoded(kind='png', im=GREY, **kw):
    buf = io.BytesIO()
    Image.fromarray(im).save(buf, kind, **kw)
    return buf.getvalue()


def bomb(w=60_000, h=60_000):
    "A PNG of a few bytes that claims to be 60,000 pixels wide and high"
    chunk = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 0, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(b'\0' * 99)) + chunk(b'IEND', b'')


NOISE = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
FILES = [ # contents, what the error says
    (b'', 'empty file'),
    (b'<html><body>Not found</body></html>', 'not a picture'),
    (b'\x89PNG\r\n\x1a\n', 'not a picture'),
    (encoded('jpeg', NOISE)[:9000], 'damaged or cut short'),
    (encoded('png', NOISE)[:9000], 'damaged or cut short'),
    (bomb(), 'million pixels'),
    (bomb(12_000, 11_000), 'million pixels'),
] # the last is one that Pillow only warns of


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('data,says', FILES, ids=['empty', 'html', 'header', 'jpeg', 'png', 'bomb', 'large'])
def test_bad_file(tmp_path, data, says):
    f = tmp_path/'photo.jpg'
    f.write_bytes(data)
    with pytest.raises(ValueError, match=f'photo.jpg.*{says}'): find_faces(f)
    with pytest.raises(ValueError, match=f'photo.jpg.*{says}'): load_predictor().predict(f)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nobody.jpg: no such file'): find_faces(tmp_path/'nobody.jpg')
    with pytest.raises(IsADirectoryError, match='a folder'): find_faces(tmp_path)


@pytest.mark.parametrize('photo,error,says', [
    (None, TypeError, 'NoneType'),
    ([[0, 1]], TypeError, 'list'),
    (b'abc', TypeError, 'bytes'),
    (GREY.astype(float), ValueError, 'float64.*uint8'),
    (GREY.astype(np.uint16), ValueError, 'uint16'),
    (GREY > 3, ValueError, 'bool'),
    (np.zeros((2, 3, 4, 3), np.uint8), ValueError, r'\(2, 3, 4, 3\)'),
    (np.zeros((60, 80, 2), np.uint8), ValueError, r'\(60, 80, 2\)'),
    (np.zeros((0, 80, 3), np.uint8), ValueError, r'\(0, 80, 3\)'),
    (np.uint8(3), TypeError, 'uint8'),
])
def test_bad_photo(photo, error, says):
    with pytest.raises(error, match=f'photo: .*{says}'): find_faces(photo)


@pytest.mark.parametrize('shape', [(1, 1), (1, 1, 3), (1, 1, 4), (2, 1), (7, 7), (8, 8), (1, 3000), (3000, 1), (3, 4000, 3), (9, 2000), (2000, 30)])
@pytest.mark.parametrize('value', [0, 255, 'noise'])
def test_tiny_or_thin_photo_has_no_face(shape, value):
    im = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8) if value == 'noise' else np.full(shape, value, np.uint8)
    assert find_faces(im) == []
    assert load_predictor('nano').predict(im) == []
    assert crop_face(im, (0, 0, 1, 1)).shape == (48, 48)


@pytest.mark.parametrize('box,says', [
    ((0, 0, 0, 5), 'above 0'), ((0, 0, 5, -1), 'above 0'), ((np.nan, 0, 5, 5), 'above 0'), ((0, np.inf, 5, 5), 'above 0'),
    ((80, 0, 5, 5), 'outside the photo of 80x60'), ((-5, -5, 5, 5), 'outside'), ((0, 60, 5, 5), 'outside'),
])
def test_bad_box(box, says):
    with pytest.raises(ValueError, match=f'box: .*{says}'): crop_face(GREY, box)


def test_crop_at_the_edge():
    for box in [(-10, -10, 20, 20), (75, 55, 20, 20), (-500, -500, 2000, 2000), Face(0, 0, 80, 60, .9, 3)]:
        out = crop_face(GREY, box)
        assert out.shape == (48, 48) and out.dtype == np.uint8 and (out == 128).all()


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'I;16'])
def test_any_mode_of_pillow(mode):
    im = Image.fromarray(np.full((6, 8), 200*257, np.uint16)) if mode == 'I;16' else Image.new('L', (8, 6), 200).convert('RGB').convert(mode)
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
    turn, mirror = {1: (0, 0), 2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}[orientation]
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
    assert load_predictor(classes=FIVE).predict_proba(X[:0]).shape == (0, 5)
    assert load_predictor().heat_map(X[:0]).shape == (0, 48, 48)


@pytest.mark.parametrize('target', ['joy', 7, -1, 1.5, [0, 1], [0, 1, 9], None.__class__])
def test_bad_target(target):
    with pytest.raises(ValueError, match='target: '): load_predictor().heat_map(X, target)


def test_target_by_name_number_and_array():
    p = load_predictor()
    x = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    i = p.classes.index('happy')
    assert (p.heat_map(x, 'happy') == p.heat_map(x, i)).all()
    assert (p.heat_map(x, [i]*3) == p.heat_map(x, i)).all()
    assert (p.heat_map(x, np.arange(3))[1] == p.heat_map(x, 1)[1]).all()
    five = load_predictor(classes=FIVE)
    assert (five.heat_map(x, 0) == p.heat_map(x, 'angry')).all()
    assert (five.heat_map(x) == p.heat_map(x, [p.classes.index(five.classes[k]) for k in five.predict_proba(x).argmax(1)])).all()


@pytest.mark.parametrize('classes,says', [(('joy',), 'joy'), ((), 'none'), ('happy', "'h'")])
def test_bad_classes(classes, says):
    with pytest.raises(ValueError, match=f'classes: .*{says}'): load_predictor(classes=classes)


@pytest.mark.parametrize('name,says', [('smal', "did you mean 'small'"), ('Nano', "did you mean 'nano'"), ('zzz', 'known are'), ('', 'known are')])
def test_unknown_name(name, says):
    with pytest.raises(ValueError, match=says): load_predictor(name)


def test_bad_onnx(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.onnx: no such file'): load_predictor(tmp_path/'none.onnx')
    for data in (b'', b'abc', b'\0'*999):
        (tmp_path/'bad.onnx').write_bytes(data)
        with pytest.raises(ValueError, match='bad.onnx: not an ONNX file'): load_predictor(tmp_path/'bad.onnx')
    with pytest.raises(ValueError, match='not an ONNX file'): load_predictor(os.fspath(tmp_path)+'/')
    from fer_nbdev.detect import _yunet_path
    with pytest.raises(ValueError, match='expected image tensor.*export_onnx'): load_predictor(_yunet_path())


def test_packaged_networks_know_all_classes():
    assert {'small', 'nano'} <= set(list_predictors())
    for name in list_predictors():
        p = load_predictor(name)
        assert p.classes == EMOTIONS and p.name == name
        assert Predictor(p.path).predict_proba(X).shape == (3, 7)
