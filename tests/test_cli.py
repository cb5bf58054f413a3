"The commands as processes: exit codes, one-line errors, JSON, terminals without UTF-8, files"
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from configparser import ConfigParser
from pathlib import Path
import matplotlib.cbook as cbook
import numpy as np
import pytest
from PIL import Image
from fer_nbdev.data import load_fer
from fer_nbdev.synthetic import synthetic_faces

ROOT = Path(__file__).resolve().parent.parent
HOPPER = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)


def programs():
    "Name -> (module, object) of each command that settings.ini names"
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    lines = ini['DEFAULT']['console_scripts'].split()
    return {name: tuple(target.split(':')) for name,target in (l.split('=', 1) for l in lines)}


PROGRAMS = programs()


def command(name, *args):
    "The command line of a program, as its console script would run it"
    module, target = PROGRAMS[name]
    code = f"from {module} import {target} as run; run()"
    return [sys.executable, '-c', code, *map(str, args)]


@pytest.fixture
def fer(tmp_path):
    "Run a program in `tmp_path`; its output, errors and exit code"
    def _run(name, *args, timeout=300, stdin=None, **env):
        return subprocess.run(command(name, *args), cwd=tmp_path, capture_output=True, input=stdin,
                              timeout=timeout, env={**os.environ, 'PYTHONPATH': str(ROOT), **env})
    return _run


def lines(stream): return stream.decode('utf-8').splitlines()


@pytest.fixture
def photo(tmp_path):
    "Grace Hopper, and a grey picture without a face"
    (tmp_path/'hopper.jpg').write_bytes(Path(HOPPER).read_bytes())
    Image.new('L', (80, 60), 128).save(tmp_path/'grey.png')
    return 'hopper.jpg'


@pytest.fixture(scope='session')
def faces(tmp_path_factory):
    "A parquet file of drawn faces"
    from fer_nbdev.cli import _write_faces
    path = tmp_path_factory.mktemp('faces')/'faces.parquet'
    _write_faces(synthetic_faces(300, random_state=0), path)
    return path


def test_all_are_installed():
    expected = {f'fer_{n}' for n in ('batch data evaluate explain export predict serve train '
                                     'video').split()}
    assert expected <= set(PROGRAMS)


@pytest.mark.parametrize('name', PROGRAMS)
def test_help_has_an_example_and_is_light(name, tmp_path):
    module, target = PROGRAMS[name]
    code = (f"import sys\nfrom {module} import {target} as run\ntry: run()\n"
            "finally: print(*sys.modules, file=sys.stderr)")
    subs = [['inspect'], ['convert'], ['check']] if name == 'fer_data' else [[]]
    for sub in subs:
        r = subprocess.run([sys.executable, '-c', code, *sub, '--help'], capture_output=True,
                           text=True, env={**os.environ, 'PYTHONIOENCODING': 'ascii'})
        assert r.returncode == 0, r.stderr[-500:]
        example = re.search(rf'Examples?:\n +{name}', r.stdout)
        assert example and 'Exit codes:' in r.stdout and '--debug' in r.stdout
        loaded = set(r.stderr.split())
        assert not loaded & {'numpy', 'cv2', 'torch', 'pandas', 'rich', 'dask', 'gradio'}


def test_predict_answers(fer, photo):
    r = fer('fer_predict', photo)
    assert r.returncode == 0 and not r.stderr
    assert re.fullmatch(r'\S+ \w+ \d+% at x=\d+, y=\d+, \d+x\d+', lines(r.stdout)[0])
    both = fer('fer_predict', photo, 'grey.png', '--json')
    got = [json.loads(l) for l in lines(both.stdout)]
    assert both.returncode == 0 and [g['source'] for g in got] == [photo, 'grey.png']
    face, = got[0]['faces']
    assert got[1]['faces'] == [] and abs(sum(face['probabilities'].values())-1) < 1e-3
    assert face['emotion'] == max(face['probabilities'], key=face['probabilities'].get)


def test_predict_from_standard_input_and_among_five(fer, photo, tmp_path):
    r = fer('fer_predict', '-', '--five', '--json', stdin=(tmp_path/photo).read_bytes())
    face, = json.loads(r.stdout)['faces']
    assert len(face['probabilities']) == 5


def test_nothing_found_ends_with_1(fer, photo):
    r = fer('fer_predict', 'grey.png')
    assert r.returncode == 1 and not r.stdout
    assert lines(r.stderr) == ['note: grey.png: no face found']


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'utf-8'])
def test_any_terminal_can_show_it(fer, photo, encoding, tmp_path):
    name = 'żółw 😀.jpg'
    (tmp_path/photo).rename(tmp_path/name)
    r = fer('fer_predict', name, 'żadna.jpg', PYTHONIOENCODING=encoding, PYTHONUTF8='0')
    assert r.returncode == 2
    said = (r.stdout+r.stderr).decode(encoding)
    assert 'Traceback' not in said and 'no such file' in said


def written(im, path, **kw):
    data = io.BytesIO()
    im.save(data, path.suffix[1:], **kw)
    path.write_bytes(data.getvalue())


@pytest.fixture
def bad_photos(tmp_path):
    "File -> what its error says; None where there is an answer"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8))
    written(noise, tmp_path/'whole.png')
    whole = (tmp_path/'whole.png').read_bytes()
    (tmp_path/'empty.jpg').touch()
    (tmp_path/'text.jpg').write_text('not a photo')
    (tmp_path/'cut.png').write_bytes(whole[:len(whole)//2])
    (tmp_path/'folder').mkdir()
    written(Image.new('1', (20_000, 20_000)), tmp_path/'huge.png')
    written(Image.new('RGB', (1, 1)), tmp_path/'one.png')
    (tmp_path/'iphone.jpg').write_bytes(b'\0\0\0\x18ftypheic'+b'\0'*99)
    (tmp_path/'\x1b[31mred.jpg').write_text('a name that colours the terminal')
    written(noise.convert('CMYK'), tmp_path/'cmyk.tiff')
    written(noise.convert('P'), tmp_path/'palette.gif')
    written(Image.fromarray(np.full((99, 99), 40_000, np.uint16)), tmp_path/'deep.png')
    return {'missing.jpg': 'no such file', 'empty.jpg': 'empty', 'text.jpg': 'not a picture',
            'cut.png': 'damaged or cut short', 'folder': 'a folder', 'huge.png': 'million pixels',
            'iphone.jpg': 'pip install pillow-heif', '\x1b[31mred.jpg': 'not a picture',
            'one.png': None, 'cmyk.tiff': None, 'palette.gif': None, 'deep.png': None}


def test_bad_photos_are_named_and_the_rest_goes_on(fer, photo, bad_photos):
    r = fer('fer_predict', '--json', *bad_photos, photo)
    assert r.returncode == 2
    *rows, last = map(json.loads, lines(r.stdout))
    assert len(last['faces']) == 1 and len(rows) == len(bad_photos)
    for row,(file,says) in zip(rows, bad_photos.items()):
        assert row['source'] == file
        if says is None: assert row['faces'] == []
        else: assert row['error'].startswith(file) and says in row['error']
    errors = [l for l in lines(r.stderr) if l.startswith('error: ')]
    assert len(errors) == sum(says is not None for says in bad_photos.values())
    assert b'\x1b' not in r.stderr and any('\\x1b[31mred.jpg' in e for e in errors)


MISUSE = { # arguments of fer_predict -> what the error says
    'nothing': ([], 'Missing argument'),
    'a typo': (['--modle', 'nano', 'hopper.jpg'], '--model'),
    'no number': (['--min-score', 'high', 'hopper.jpg'], 'min-score'),
    'out of range': (['--min-score', '7', 'hopper.jpg'], 'expected a number from 0 to 1'),
    'unknown model': (['--model', 'smal', 'hopper.jpg'], "did you mean 'small'?"),
    'missing model': (['--model', 'x.onnx', 'hopper.jpg'], 'x.onnx: no such file'),
    'a pickle named .onnx': (['--model', 'pickle.onnx', 'hopper.jpg'], 'not an ONNX file'),
    'other inputs': (['--model', 'yunet.onnx', 'hopper.jpg'], 'expected image tensor'),
    'an address': (['https://a.org/b.jpg', '--json'], 'an address, expected one picture'),
    'a file as the folder': (['--out', 'grey.png', 'hopper.jpg'], 'grey.png: no folder can be'),
    'same names': (['--out', 'o', 'hopper.jpg', 'a/hopper.jpg'], 'the same name'),
}


@pytest.mark.parametrize('case', MISUSE)
def test_misuse_is_one_line_and_2(fer, photo, case, tmp_path):
    import pickle
    from fer_nbdev.detect import _yunet_path
    (tmp_path/'pickle.onnx').write_bytes(pickle.dumps(dict(a=1)))
    (tmp_path/'yunet.onnx').write_bytes(Path(_yunet_path()).read_bytes())
    args, says = MISUSE[case]
    r = fer('fer_predict', *args)
    said, = lines(r.stderr)
    assert r.returncode == 2 and (not r.stdout or '--json' in args)
    assert said.startswith('error: ') and says in said


def test_traceback_only_with_debug(fer, photo):
    assert b'Traceback' in fer('fer_predict', '--model', 'smal', photo, '--debug').stderr
    assert b'Traceback' not in fer('fer_predict', '--model', 'smal', photo).stderr
    assert b'Traceback' in fer('fer_predict', 'missing.jpg', '--debug').stderr


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='/dev/full is a device of Linux')
def test_full_disk(fer, photo, tmp_path):
    with open('/dev/full', 'w') as full:
        r = subprocess.run(command('fer_predict', photo), cwd=tmp_path, stdout=full,
                           stderr=subprocess.PIPE)
    assert r.returncode == 2
    assert lines(r.stderr) == ['error: standard output: cannot be written '
                               '(No space left on device)']


def test_closed_pipe_is_quiet(photo, tmp_path):
    p = subprocess.Popen(command('fer_predict', photo), cwd=tmp_path, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    p.stdout.close()
    assert p.stderr.read() == b'' and p.wait(60) == 141


def test_interrupt_ends_with_130(tmp_path):
    os.mkfifo(tmp_path/'wait')
    code = "from fer_nbdev import cli; cli._read_source = lambda s: open('wait'); cli._predict()"
    p = subprocess.Popen([sys.executable, '-c', code, 'x.jpg'], cwd=tmp_path, text=True,
                         stderr=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    time.sleep(3) # by now it waits for the pipe, or still imports
    p.send_signal(signal.SIGINT)
    assert 'Traceback' not in p.communicate(timeout=60)[1] and p.returncode == 130


def test_pictures_are_written_and_not_replaced(fer, photo, tmp_path):
    assert fer('fer_predict', photo, '--out', 'o').returncode == 0
    first = (tmp_path/'o/hopper.png').read_bytes()
    assert Image.open(tmp_path/'o/hopper.png').size == Image.open(tmp_path/photo).size
    r = fer('fer_predict', photo, '--out', 'o', '--model', 'nano')
    assert r.returncode == 2 and '--overwrite' in lines(r.stderr)[0]
    assert (tmp_path/'o/hopper.png').read_bytes() == first
    assert fer('fer_predict', photo, '--out', 'o', '--overwrite').returncode == 0
    assert [p.name for p in (tmp_path/'o').iterdir()] == ['hopper.png']


def test_explain_changes_the_face_only(fer, photo, tmp_path):
    r = fer('fer_explain', photo, 'heat.png', '--json')
    box = json.loads(r.stdout)['faces'][0]['box']
    before, after = (np.asarray(Image.open(tmp_path/f), int) for f in (photo, 'heat.png'))
    changed = np.argwhere((before != after).any(2))
    y, x = changed.mean(0)
    assert box['x'] < x < box['x']+box['w'] and box['y'] < y < box['y']+box['h']
    assert (before[:, :50] == after[:, :50]).all()
    again = fer('fer_explain', photo, 'heat.bmp', '--target', 'hapy')
    assert again.returncode == 2 and "unknown class 'hapy'" in lines(again.stderr)[0]
    r = fer('fer_explain', photo, 'nowhere/heat.png')
    assert r.returncode == 2 and 'nowhere: no such folder' in lines(r.stderr)[0]


@pytest.mark.parametrize('out', ['faces.csv', 'folder', 'again.parquet'])
def test_convert_keeps_the_faces(fer, faces, out, tmp_path):
    r = fer('fer_data', 'convert', faces, out, '--json')
    assert json.loads(r.stdout)['faces'] == 300
    old, new = load_fer(faces), load_fer(tmp_path/out)
    assert (old.counts == new.counts).all() and old.images.sum() == new.images.sum()
    if out != 'folder': assert old.fingerprint == new.fingerprint
    again = fer('fer_data', 'convert', faces, out)
    assert again.returncode == 2 and 'exists already' in lines(again.stderr)[0]
    assert {p.name for p in tmp_path.iterdir()} == {out}


def test_convert_keeps_votes(tmp_path):
    from fer_nbdev.cli import _write_faces
    f = synthetic_faces(60, random_state=0)
    votes = np.random.default_rng(0).integers(0, 5, (60, 10))
    _write_faces(f.replace(votes=votes), tmp_path/'f.parquet')
    assert (load_fer(tmp_path/'f.parquet').votes == votes).all()


def test_inspect_and_check(fer, faces, tmp_path):
    told = json.loads(fer('fer_data', 'inspect', faces, '--json').stdout)
    assert told['faces'] == 300 and told['fingerprint'] == load_fer(faces).fingerprint
    assert sum(c['all'] for c in told['classes'].values()) == 300
    r = fer('fer_data', 'check', faces, '--json', '--table', 'leaks.csv')
    found = json.loads(r.stdout)
    rows = (tmp_path/'leaks.csv').read_text().splitlines()
    assert sum(found['leaks'].values()) == len(rows)-1 > 0
    r = fer('fer_data', 'inspect', 'missing.csv')
    assert r.returncode == 2 and len(lines(r.stderr)) == 1


def test_train_export_evaluate(fer, faces, photo, tmp_path):
    "From faces to a network of five classes that answers for a photo"
    r = fer('fer_train', faces, '--out', 'run', '--five', '--set', 'epochs=1', '--set', 'bs=32',
            '--json')
    told = json.loads(r.stdout)
    assert r.returncode == 0 and told['epochs'] == 1 and 0 <= told['last']['accuracy'] <= 1
    assert b'\r' not in r.stderr # no bar in a file
    r = fer('fer_export', 'run', 'five.onnx', '--json')
    assert json.loads(r.stdout)['classes'] == ['angry', 'happy', 'neutral', 'sad', 'surprise']
    r = fer('fer_evaluate', faces, '--model', 'five.onnx', '--json')
    scored = json.loads(r.stdout)
    assert abs(scored['metrics']['accuracy']['value']-told['last']['accuracy']) < .1
    r = fer('fer_predict', photo, '--model', 'five.onnx', '--json')
    assert len(json.loads(r.stdout)['faces'][0]['probabilities']) == 5


@pytest.mark.parametrize('line, says', [
    ('fer_train {faces} --set epoch=2', "did you mean 'epochs'?"),
    ('fer_train {faces} --set epochs', 'expected NAME=VALUE'),
    ('fer_train {faces} --recipe nona', "did you mean 'nano'?"),
    ('fer_export hopper.jpg x.onnx', 'not a safetensors file'),
    ('fer_export run x.onnx', 'run: no such file'),
    ('fer_export run x.pt', 'expected a name that ends in .onnx'),
    ('fer_evaluate {faces} --split tset', "no face in split 'tset'"),
])
def test_misuse_of_the_others(fer, faces, photo, line, says):
    name, *args = line.format(faces=faces).split()
    r = fer(name, *args)
    errors = [l for l in lines(r.stderr) if not l.startswith(('note:', 'Faces('))]
    assert r.returncode == 2 and len(errors) == 1 and errors[0].startswith('error: '), r.stderr
    assert says in errors[0]


@pytest.fixture
def film(photo, tmp_path):
    "Half a second of a portrait that moves, and half a second of grey"
    import cv2
    still = cv2.resize(cv2.imread(str(tmp_path/photo)), (256, 300))
    for name,frames in (('film.mkv', [still]*5), ('grey.mkv', [np.full_like(still, 128)]*5)):
        path, kind = str(tmp_path/name), cv2.VideoWriter_fourcc(*'MJPG')
        writer = cv2.VideoWriter(path, kind, 10, (256, 300))
        for f in frames: writer.write(f)
        writer.release()
    return 'film.mkv'


def test_video_to_table_and_figure(fer, film, tmp_path):
    r = fer('fer_video', film, '--table', 'f.csv', '--timeline', 'f.png', '--json')
    told = json.loads(r.stdout)
    assert r.returncode == 0 and told['frames'] == 5 and told['faces'][-1]['face'] == 'all'
    assert len((tmp_path/'f.csv').read_text().splitlines()) > 1
    assert Image.open(tmp_path/'f.png').width > 100
    again = fer('fer_video', film, '--table', 'f.csv')
    assert again.returncode == 2 and len(lines(again.stderr)) == 1
    assert fer('fer_video', 'grey.mkv').returncode == 1


@pytest.mark.parametrize('args, says', [
    ([], '--camera 0'), (['film.mkv', '--camera', '0'], 'name one source'),
    (['missing.mp4'], 'missing.mp4'), (['.'], 'folder'),
    (['--camera', '63'], 'camera 63: gives no picture'),
    (['--camera', '63', '--out', 'x.mp4'], 'camera 63: gives no picture'),
    (['film.mkv', '--timeline', 't.xyz'], "unknown ending '.xyz', expected .png"),
    (['film.mkv', '--timeline', 'film.mkv'], 'exists already'),
    (['film.mkv', '--out', 'film.mkv', '--overwrite'], 'is the source'),
    (['film.mkv', '--emoji', 'under'], 'under')])
def test_misuse_of_video(fer, film, args, says):
    r = fer('fer_video', *args)
    said, = lines(r.stderr)
    assert r.returncode == 2 and said.startswith('error: ') and says in said


@pytest.fixture
def served(tmp_path):
    "Start fer_serve on a free port; (process, address)"
    pytest.importorskip('gradio')
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
    p = subprocess.Popen(command('fer_serve', '--port', 0), cwd=tmp_path, text=True, env=env,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in p.stdout:
        found = re.search(r'http://127\.0\.0\.1:\d+', line)
        if found: break
    yield p, found[0]
    if p.poll() is None: p.kill()
    p.wait()


def test_serve_until_interrupted(served, fer):
    "The page is there; a second server on the port is told what to do; Ctrl-C ends it quietly"
    from urllib.request import urlopen
    p, address = served
    for _ in range(100):
        try: page = urlopen(address, timeout=60).read()
        except OSError: time.sleep(.2)
        else: break
    assert b'fer_nbdev' in page
    r = fer('fer_serve', '--port', address.rpartition(':')[2])
    said = lines(r.stderr)[-1]
    assert r.returncode == 2 and said.startswith('error: cannot use port') and '--port' in said
    p.send_signal(signal.SIGINT)
    assert 'Traceback' not in p.stdout.read() and p.wait(60) in (0, 130)


def test_serve_writes_a_space(fer, tmp_path):
    assert fer('fer_serve', '--space', 'space').returncode == 0
    assert (tmp_path/'space/app.py').exists()
    r = fer('fer_serve', '--space', 'space')
    assert r.returncode == 2 and '--overwrite' in lines(r.stderr)[-1]
    (tmp_path/'file').touch()
    r = fer('fer_serve', '--space', 'file')
    assert r.returncode == 2 and 'file: a file, expected a folder' in lines(r.stderr)[-1]
    r = fer('fer_serve', '--password', '--answers', 'a.db', stdin=b'')
    assert r.returncode == 2 and 'set FER_PASSWORD' in lines(r.stderr)[-1]
    public = fer('fer_serve', '--host', '0.0.0.0', '--port', '0', '--answers', 'a.db')
    assert public.returncode == 2 and 'password' in lines(public.stderr)[-1]
