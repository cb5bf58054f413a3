"What detect and predict promise beyond their pages: sizes, threads, memory, explanations, tables"
import json
import sys
import threading
from pathlib import Path
import cv2
import matplotlib.cbook as cbook
import numpy as np
import pytest
from fer_nbdev.core import FIVE
from fer_nbdev.detect import CROP_FACTOR, FaceBox, crop_face, find_faces, read_photo
from fer_nbdev.predict import Prediction, draw_predictions, load_predictor, to_frame


@pytest.fixture(scope='module')
def hopper(): return read_photo(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False))


@pytest.fixture(scope='module')
def heads(hopper):
    "The two public photos, cut to the head: the face is two thirds as high as each"
    found = []
    for photo in (hopper, pytest.importorskip('skimage.data').astronaut()):
        f = find_faces(photo)[0]
        m = f.h//4
        found.append(photo[max(0, f.y-m):f.y+f.h+m, f.x-m:f.x+f.w+m])
    return found


def sheet(heads, heights, columns, cell):
    "Heads with faces of these heights in a grid on a soft background, and their middles"
    noise = np.random.default_rng(0).integers(120, 180, (15, 20, 1), dtype=np.uint8)
    rows = -(-len(heights)//columns)
    im = cv2.resize(noise.repeat(3, 2), (columns*cell, rows*cell))
    middles = []
    for k, height in enumerate(heights):
        head = heads[k % 2]
        s = 1.5*height/len(head)
        how = cv2.INTER_AREA if s < 1 else cv2.INTER_CUBIC
        one = cv2.resize(head, None, fx=s, fy=s, interpolation=how)
        y, x = cell*(k//columns), cell*(k % columns)
        im[y:y+one.shape[0], x:x+one.shape[1]] = one
        middles.append((x+one.shape[1]/2, y+one.shape[0]/2))
    return im, middles


def inside(f, p): return f.x < p[0] < f.x+f.w and f.y < p[1] < f.y+f.h


def test_25_faces_from_24_to_200_pixels(heads):
    im, middles = sheet(heads, np.linspace(24, 200, 25), 5, 310)
    faces = find_faces(im)
    assert len(faces) == 25
    assert all(sum(inside(f, m) for f in faces) == 1 for m in middles)


def test_a_hundred_faces(heads):
    im, middles = sheet(heads, np.full(100, 60), 10, 100)
    answers = load_predictor('nano').predict(im)
    assert len(answers) == 100 == len(to_frame(answers))
    assert all(sum(inside(a.box, m) for a in answers) == 1 for m in middles)


def test_a_photo_above_4000_pixels_is_searched_in_a_smaller_copy(hopper, monkeypatch):
    "Whatever is asked for, YuNet sees no picture whose side is longer than 4,000 pixels"
    from fer_nbdev import detect
    sides, look = [], detect._yunet
    def spy(im, min_score):
        sides.append(max(im.shape))
        return look(im, min_score)
    monkeypatch.setattr(detect, '_yunet', spy)
    wide = np.full((600, 6000, 3), 128, np.uint8)
    wide[:, 3000:3512] = hopper
    for max_side in (1600, 99_999):
        face, = find_faces(wide, max_side=max_side)
        assert inside(face, (3268, 226))
    assert max(sides) == 4000


@pytest.mark.parametrize('turn', range(4))
def test_points_lie_on_the_face_in_any_turn(hopper, turn):
    "They are those of the upright photo, turned with it"
    upright, = find_faces(hopper)
    face, = find_faces(np.rot90(hopper, -turn))
    H, W = hopper.shape[:2]
    for (x, y), (tx, ty) in zip(upright.points, face.points):
        want = [(x, y), (H-y, x), (W-x, H-y), (y, W-x)][turn]
        assert np.hypot(tx-want[0], ty-want[1]) < 12, (turn, (tx, ty), want)


@pytest.mark.parametrize('lean', [-30, -15, 15, 30])
@pytest.mark.parametrize('turn', range(4))
def test_align_levels_the_eyes(hopper, lean, turn):
    "The levelled crop of a leaning head is closer to that of the upright head"
    matrix = cv2.getRotationMatrix2D((268, 230), -lean, 1)
    leaning = cv2.warpAffine(hopper, matrix, (512, 600), borderMode=cv2.BORDER_REPLICATE)
    photo = np.rot90(leaning, -turn)
    face = find_faces(photo, align=True)[0]
    if face.turn != turn: pytest.skip('the photo was taken for one turned otherwise')
    assert abs(face.angle-lean) < 10
    want = crop_face(hopper, find_faces(hopper)[0]).astype(int)
    off = [np.abs(crop_face(photo, f)-want).mean() for f in (face, face._replace(angle=0))]
    assert off[0] < off[1]
    plain = find_faces(photo)[0]
    assert plain == face._replace(angle=0) and plain.angle == 0


def test_explain_adds_the_map_and_changes_nothing_else(heads):
    im, _ = sheet(heads, [60, 80, 100], 3, 160)
    for p in (load_predictor('nano'), load_predictor('small', classes=FIVE, flip=True)):
        plain, explained = p.predict(im), p.predict(im, explain=True)
        assert [a[:5] for a in plain] == [a[:5] for a in explained] and len(plain) == 3
        assert all(a.heat_map is None for a in plain)
        for a in explained:
            assert (a.heat_map == p.heat_map(crop_face(im, a.box)[None])[0]).all()
            assert 'heat_map' not in repr(a)
    assert p.predict(np.zeros((99, 99), np.uint8), explain=True) == []


def test_to_frame():
    face = FaceBox(1, 2, 3, 4, .9, 1, ((1., 2.),)*5, 5.)
    answers = [Prediction(face, 'sad', ':(', .6, dict(happy=.4, sad=.6))]*2
    t = to_frame(answers)
    assert list(t.index) == [0, 1] and t.index.name == 'face'
    assert list(t.columns[-3:]) == ['probability', 'happy', 'sad']
    assert t.iloc[1].to_dict() == dict(x=1, y=2, w=3, h=4, score=.9, turn=1, angle=5.,
                                       emotion='sad', probability=.6, happy=.4, sad=.6)
    empty = to_frame([], classes=('happy', 'sad'))
    assert len(empty) == 0 and list(empty) == list(t)


def disc(im):
    "The box (x, y, x, y) of the emoji's yellow"
    ys, xs = np.nonzero(np.abs(im-np.array([255, 206, 74])).max(-1) < 10)
    return xs.min(), ys.min(), xs.max(), ys.max()


def test_where_the_emoji_stands():
    im = np.full((200, 300, 3), 128, np.uint8)
    p = Prediction(FaceBox(100, 60, 60, 80), 'happy', ':)', 1., {'happy': 1.})
    places = {e: disc(draw_predictions(im, [p], emoji=e)) for e in ('corner', 'beside', 'over')}
    assert places['corner'][0] < 100 and places['corner'][2] < 130
    assert places['beside'][0] > 160 and places['beside'][1] >= 60
    left, top, right, bottom = places['over']
    assert left < 110 and right > 150 and top < 70 and bottom > 130
    at_edge = p._replace(box=FaceBox(235, 60, 60, 80))
    assert disc(draw_predictions(im, [at_edge], emoji='beside'))[2] < 235
    text = draw_predictions(im, [p], labels=['1 happy'])
    assert (text[30:55, 100:160] == 255).any() and (im == 128).all()
    with pytest.raises(ValueError, match="emoji: 'besides', .*did you mean 'beside'"):
        draw_predictions(im, [p], emoji='besides')


def test_the_crop_in_use_is_one_that_the_study_supports():
    "Upright, no crop is better by more than its 95 % interval; of all, as few as by chance"
    path = Path(__file__).resolve().parent.parent/'studies/results/crops.json'
    study = json.loads(path.read_text())
    rows = [r for kinds in study['networks'].values() for k in kinds.values() for r in k['rows']]
    usual = [r for r in rows if r['frame'] == CROP_FACTOR and not r['align']]
    assert study['split'] == 'valid' and len(usual) == 4
    assert all(r['gain'] == [0, 0, 0] for r in usual)
    upright = [r for kinds in study['networks'].values() for r in kinds['upright']['rows']]
    assert max(r['gain'][1] for r in upright) <= 0
    assert sum(r['gain'][1] > 0 for r in rows) <= .05*len(rows)


def test_the_same_answers_from_16_threads(heads):
    "One predictor for all; photos of different sizes, so that a shared detector would go wrong"
    p = load_predictor('nano')
    photos = [sheet(heads, [h, 2*h], 2, 3*h+40)[0] for h in (40, 50, 60, 70)]
    want = [p.predict(im, explain=True, align=True) for im in photos]
    wrong, start = [], threading.Barrier(16)

    def work(i):
        start.wait()
        for k in range(2):
            k = (k+i) % 4
            got = p.predict(photos[k], explain=True, align=True)
            same = [a[:5] for a in got] == [a[:5] for a in want[k]]
            maps = same and all((a.heat_map == b.heat_map).all() for a, b in zip(got, want[k]))
            if not maps: wrong.append((i, k))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert [len(w) for w in want] == [2]*4 and wrong == []


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_memory_is_flat_for_many_rows():
    "More rows need no more room than their answers take: 28 bytes each"
    def resident():
        with open('/proc/self/statm') as f: return int(f.read().split()[1])*4096
    p = load_predictor('nano')
    face = np.random.default_rng(0).integers(0, 256, (1, 48, 48), dtype=np.uint8)
    for _ in range(3): p.predict_proba(np.broadcast_to(face, (512, 48, 48)))
    before = resident()
    out = p.predict_proba(np.broadcast_to(face, (5120, 48, 48)))
    assert out.shape == (5120, 7)
    assert resident()-before < 5120*48*48, 'as if the faces had been copied'


def test_eight_bits_without_instructions_for_them(tmp_path, monkeypatch, recwarn):
    "Such a file works everywhere, gives the same answers, and says where it is not faster"
    quantize_onnx = pytest.importorskip('fer_nbdev.export').quantize_onnx
    import fer_nbdev.predict as predict
    faces = np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8)
    path = tmp_path/'mine-int8.onnx'
    quantize_onnx(predict._weights/'nano.onnx', path, faces)
    monkeypatch.setattr(predict, '_lacks_8bit', lambda: False)
    quiet = load_predictor(path).predict_proba(faces)
    assert not [w for w in recwarn if 'instructions' in str(w.message)]
    monkeypatch.setattr(predict, '_lacks_8bit', lambda: True)
    with pytest.warns(UserWarning, match='mine-int8 has 8 bits, .* it works, but it is not faster'):
        warned = load_predictor(path).predict_proba(faces)
    assert np.array_equal(quiet, warned)
    load_predictor('nano') # in floats: nothing to say
