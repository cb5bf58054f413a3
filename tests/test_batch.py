"`predict_many`: the same rows however it ran, whatever was killed, wherever the images are"
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
import matplotlib.cbook as cbook
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev.synthetic import synthetic_faces

pytest.importorskip('distributed')
from distributed import LocalCluster
from fer_nbdev import batch
from fer_nbdev.batch import predict_many
from fer_nbdev.predict import load_predictor

ROOT = Path(__file__).resolve().parent.parent
HOPPER = Path(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False))


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "40 pictures: drawn faces, a portrait twice, a grey one, and some that cannot be read"
    home = tmp_path_factory.mktemp('photos')
    (home/'below').mkdir()
    for i,im in enumerate(synthetic_faces(34, random_state=0).images):
        Image.fromarray(im).save(home/'below'/f'{i:02d}.png')
    small = Image.open(HOPPER).resize((256, 300))
    for name in ('a.jpg', 'b [1].jpg'): small.save(home/name)
    Image.new('L', (80, 60), 128).save(home/'grey.png')
    (home/'cut.jpg').write_bytes(HOPPER.read_bytes()[:20000])
    (home/'empty.jpg').touch()
    (home/'text.jpg').write_text('no photo')
    (home/'notes.txt').write_text('left out')
    return home


def rows(folder):
    "All rows in a fixed order"
    return pd.read_parquet(folder).sort_values(['source', 'face'], ignore_index=True)


@pytest.fixture(scope='module')
def answers(photos, tmp_path_factory):
    "The folder of the answers of one worker, and its summary"
    out = tmp_path_factory.mktemp('answers')/'one'
    told = []
    summary = predict_many(photos, out, model='nano', workers=1, part_size=4,
                           progress=lambda *done: told.append(done))
    assert told == [(i, 10) for i in range(11)]
    return out, summary


def test_each_picture_is_there(photos, answers):
    out, summary = answers
    d = rows(out)
    pictures = sorted(str(p) for p in photos.rglob('*') if p.suffix in ('.jpg', '.png'))
    assert sorted(d.source.unique()) == pictures and summary['images'] == len(pictures) == 40
    assert summary['errors'] == d.error.notna().sum() == 3
    assert summary['faces'] == d.face.notna().sum() >= 2
    assert summary['without_face'] == (d.face.isna() & d.error.isna()).sum() >= 1
    for name,says in (('cut', 'cut short'), ('empty', 'empty'), ('text', 'not a picture')):
        said, = d.error[d.source.str.endswith(f'{name}.jpg')]
        assert says in said and f'{name}.jpg' in said
    assert set(d.model) == {'nano'} and d.version.notna().all()


def test_answers_are_those_of_predict(photos, answers):
    d = rows(answers[0])
    face, = load_predictor('nano').predict(photos/'a.jpg')
    row = d[d.source == str(photos/'a.jpg')].iloc[0]
    assert (row.x, row.y, row.w, row.h) == face.box[:4] and row.emotion == face.emotion
    shares = [row[f'p_{c}'] for c in EMOTIONS]
    assert np.allclose(shares, list(face.probabilities.values()), atol=1e-5)


def test_four_workers_give_the_same_rows(photos, answers, tmp_path):
    predict_many(photos, tmp_path/'out', model='nano', workers=4, part_size=4)
    pd.testing.assert_frame_equal(rows(tmp_path/'out'), rows(answers[0]))


def test_a_killed_worker_loses_and_doubles_nothing(photos, answers, tmp_path):
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        pids = [w.pid for w in cluster.workers.values()]
        killed = []

        def kill(done, n):
            if done in (2, 5): killed.append(os.kill(pids.pop(), signal.SIGKILL))
        predict_many(photos, tmp_path/'out', model='nano', part_size=4, progress=kill,
                     scheduler=cluster.scheduler_address)
    assert len(killed) == 2
    pd.testing.assert_frame_equal(rows(tmp_path/'out'), rows(answers[0]))
    assert len(list((tmp_path/'out').glob('part-*'))) == 10


def test_killed_and_started_again(photos, answers, tmp_path):
    "kill -9 for the whole call and its workers; the second call does the rest"
    code = ("import sys, time; from fer_nbdev.batch import predict_many\n"
            "slow = lambda done, n: time.sleep(.5)\n"
            "predict_many(*sys.argv[1:], model='nano', workers=1, part_size=4, progress=slow)")
    out = tmp_path/'out'
    p = subprocess.Popen([sys.executable, '-c', code, photos, out], start_new_session=True,
                         env={**os.environ, 'PYTHONPATH': str(ROOT)}, stderr=subprocess.DEVNULL)
    stop = time.monotonic()+120
    while len(list(out.glob('part-*'))) < 2 and time.monotonic() < stop: time.sleep(.05)
    os.killpg(p.pid, signal.SIGKILL)
    p.wait(60)
    before = {f.name: f.stat().st_mtime_ns for f in out.glob('part-*')}
    assert 2 <= len(before) < 10
    summary = predict_many(photos, out, model='nano', workers=1, part_size=4)
    assert summary['parts_before'] == len(before) and summary['images'] == 40
    assert all((out/n).stat().st_mtime_ns == t for n,t in before.items()) # not done again
    pd.testing.assert_frame_equal(rows(out), rows(answers[0]))


@pytest.mark.parametrize('change, says', [
    (dict(model='small'), 'differs in model'),
    (dict(classes=FIVE), 'differs in classes'),
    (dict(cropped=True), 'differs in cropped'),
    (dict(part_size=5), 'differs in part_size'),
    (dict(source='below'), 'differs in input'),
])
def test_another_run_is_refused(photos, answers, change, says):
    settings = dict(model='nano', part_size=4)|change
    source = photos/settings.pop('source', '')
    with pytest.raises(ValueError, match=f'{says}.*--overwrite'):
        predict_many(source, answers[0], **settings)


@pytest.mark.parametrize('name, says', [
    ('_manifest.json', '_manifest.json is damaged.*--overwrite'),
    ('part-0000000.parquet', 'part-0000000.parquet: damaged; delete this file'),
])
def test_damaged_answers_are_named(photos, tmp_path, name, says):
    out, run = tmp_path/'out', partial(predict_many, photos/'grey.png', model='nano', workers=1)
    run(out)
    (out/name).write_bytes(b'{')
    with pytest.raises(ValueError, match=says): run(out)


def test_a_question_mark_in_a_name(tmp_path):
    "It begins the query of a URL, and nothing in a local name"
    (tmp_path/'who?.jpg').touch()
    assert [Path(n).name for n,_ in batch._list_files(tmp_path)] == ['who?.jpg']
    assert batch._kind('https://a.b/c.jpg?size=large') == 'picture'


@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere each name is Unicode')
def test_a_name_that_is_no_unicode(photos, tmp_path):
    (tmp_path/'in').mkdir()
    for name,data in ((b'\xff.png', (photos/'grey.png').read_bytes()), (b'\xfe.jpg', b'')):
        Path(os.fsdecode(os.fsencode(tmp_path/'in')+b'/'+name)).write_bytes(data)
    found = predict_many(tmp_path/'in', tmp_path/'out', model='nano', workers=1)
    assert (found['images'], found['errors'], found['without_face']) == (2, 1, 1)
    rows = pd.read_parquet(tmp_path/'out'/'part-0000000.parquet')
    assert [Path(n).name for n in rows.source] == [r'\udcfe.jpg', r'\udcff.png']


def test_overwrite_and_strange_folders(photos, tmp_path):
    out = tmp_path/'out'
    for n in (4, 3):
        predict_many(photos/'grey.png', out, model='nano', part_size=n, workers=1, overwrite=True)
    (out/'mine.txt').touch()
    with pytest.raises(ValueError, match='holds other files, such as mine.txt'):
        predict_many(photos/'grey.png', out, part_size=1, overwrite=True)
    assert (out/'mine.txt').exists() and len(list(out.glob('part-*'))) == 1


@pytest.fixture
def web(photos, static_server):
    "The photos on a web server: its address"
    return static_server(photos).rstrip('/')


def test_from_a_web_server_and_a_list(photos, answers, web, tmp_path):
    sources = [f'{web}/a.jpg', f'{web}/missing.jpg', f'file://{photos}/b [1].jpg',
               str(photos/'below'/'0*.png')]
    d = predict_many(sources, f'file://{tmp_path}/out', model='nano', workers=1)
    assert d['images'] == 13 and d['errors'] == 1
    got, want = rows(tmp_path/'out'), rows(answers[0])
    there, here = (t[t.source.str.endswith('a.jpg')] for t in (got, want))
    assert there.source.tolist() == [f'{web}/a.jpg']
    assert there.emotion.tolist() == here.emotion.tolist()
    missing, = got.error[got.source == f'{web}/missing.jpg']
    assert 'FileNotFoundError' in missing


def test_a_folder_on_a_web_server(web, tmp_path):
    d = predict_many(f'{web}/below/', tmp_path/'out', model='nano', cropped=True, workers=1)
    assert d['images'] == d['faces'] == 34
    assert rows(tmp_path/'out').source.str.startswith(web).all()


def png(im):
    data = io.BytesIO()
    Image.fromarray(im).save(data, 'png')
    return data.getvalue()


def test_parquet_in_several_row_groups_and_parts(tmp_path):
    "Bytes and structs of bytes; rows keep their numbers; a missing picture has its error"
    import pyarrow as pa
    import pyarrow.parquet as pq
    f = synthetic_faces(100, random_state=0)
    images = [png(im) for im in f.images]
    images[50] = None
    table = pa.table({'image': [dict(bytes=b) for b in images]})
    pq.write_table(table, tmp_path/'f.parquet', row_group_size=60)
    d = predict_many(tmp_path/'f.parquet', tmp_path/'out', model='nano', cropped=True, workers=1,
                     part_size=5)
    assert d['parts'] == 3 and (d['faces'], d['errors']) == (99, 1)
    got = rows(tmp_path/'out').assign(row=lambda t: t.source.str.split('#').str[1].astype(int))
    got = got.sort_values('row')
    assert got.row.tolist() == [*range(100)] and 'empty' in got.error.iloc[50]
    want = load_predictor('nano').predict_proba(np.delete(f.images, 50, 0))
    assert np.allclose(got.filter(like='p_').dropna().to_numpy(), want, atol=1e-5)


def peak_after(client, source, out, **settings):
    "MB of memory that the worker has held at most, after it answered for `source`"
    predict_many(source, out, model='nano', scheduler=client.scheduler.address, **settings)

    def peak():
        lines = open('/proc/self/status').read().splitlines()
        return next(int(l.split()[1])/1024 for l in lines if l.startswith('VmHWM'))
    return max(client.run(peak).values())


def test_memory_is_flat(photos, tmp_path, measured):
    "Twenty times as many photos take no more memory"
    photo = [str(photos/'a.jpg')]
    with batch._own_workers(1) as client:
        few = peak_after(client, photo*12, tmp_path/'few', part_size=4)
        many = peak_after(client, photo*240, tmp_path/'many', part_size=4)
    measured('a worker after 12 and after 240 photos', f'{few:.0f} and {many:.0f} MB')
    assert many < few+20, (few, many)


def test_a_large_row_group_is_not_held_in_memory(tmp_path, measured):
    "A worker reads its rows in blocks: 200 MB in one row group take no more than 60 MB"
    import pyarrow as pa
    import pyarrow.parquet as pq
    noise = np.random.default_rng(0)
    for name,n in (('few', 3000), ('many', 10_000)):
        table = pa.table({'image': [noise.bytes(20_000) for _ in range(n)]})
        pq.write_table(table, tmp_path/f'{name}.parquet')
    with batch._own_workers(1) as client:
        few, many = (peak_after(client, tmp_path/f'{name}.parquet', tmp_path/name, part_size=256)
                     for name in ('few', 'many'))
    measured('a worker after a row group of 60 and of 200 MB', f'{few:.0f} and {many:.0f} MB')
    assert many < few+60, (few, many)
    assert rows(tmp_path/'many').error.notna().sum() == 10_000


def bad_parquet(folder, name):
    import pyarrow as pa
    import pyarrow.parquet as pq
    path = folder/'x.parquet'
    columns = {'no column': {'pixels': ['1 2']}, 'strings': {'image': ['1 2']}}
    if name in columns: pq.write_table(pa.table(columns[name]), path)
    elif name != 'missing': path.write_bytes(b'PAR1 and no more')
    return path


@pytest.mark.parametrize('name, says', [
    ('no column', "no column 'image', found .*--column"),
    ('strings', 'column image holds string, expected encoded bytes'),
    ('cut', 'not a complete parquet file'),
    ('missing', 'no such file'),
])
def test_bad_parquet(tmp_path, name, says):
    with pytest.raises((ValueError, FileNotFoundError), match=f'x.parquet: .*{says}'):
        predict_many(bad_parquet(tmp_path, name), tmp_path/'out')
    assert not (tmp_path/'out').exists()


@pytest.mark.parametrize('change, says', [
    (dict(source=[]), 'an empty list'),
    (dict(source=''), 'an empty path'),
    (dict(source='nothing/here'), 'nothing there'),
    (dict(source='*.jpg'), 'nothing there'),
    (dict(workers=0), 'workers: 0'),
    (dict(part_size='many'), "part_size: 'many'"),
    (dict(min_score=3), 'min_score: 3'),
    (dict(model='smal'), "did you mean 'small'"),
    (dict(classes=['hapy']), 'hapy'),
])
def test_misuse(tmp_path, photos, change, says, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = dict(source=photos)|change
    with pytest.raises(ValueError, match=says):
        predict_many(settings.pop('source'), tmp_path/'out', **settings)
    assert not (tmp_path/'out').exists()


def test_no_scheduler_and_no_worker(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, '_PATIENCE', 1)
    with pytest.raises(ConnectionError, match='tcp://127.0.0.1:9: no Dask scheduler answers'):
        predict_many(photos, tmp_path/'a', scheduler='tcp://127.0.0.1:9')
    with LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        with pytest.raises(ConnectionError, match='this scheduler has no worker'):
            predict_many(photos, tmp_path/'b', scheduler=cluster.scheduler_address)


def test_a_lost_scheduler(photos, answers, tmp_path):
    "Killed for real: one line says so, and the same command without it does the rest"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        address = f'tcp://127.0.0.1:{s.getsockname()[1]}'
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT': '2s'}
    dask = [sys.executable, '-m', 'dask']
    quiet = dict(env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host, port = address[6:].split(':')
    scheduler = subprocess.Popen([*dask, 'scheduler', '--host', host, '--port', port,
                                  '--no-dashboard'], **quiet)
    worker = subprocess.Popen([*dask, 'worker', address, '--nthreads', '1', '--no-nanny',
                               '--no-dashboard'], **quiet)
    out = tmp_path/'out'
    code = ("from fer_nbdev import batch, cli\nimport time\ndo = batch._run_parts\n"
            "def slowly(c, p, w, progress): do(c, p, w, lambda: (progress(), time.sleep(1)))\n"
            "batch._run_parts, batch._PATIENCE = slowly, 60\ncli._batch()")
    wishes = [photos, out, '--model', 'nano', '--part-size', '1', '--scheduler', address]
    try:
        p = subprocess.Popen([sys.executable, '-c', code, *map(str, wishes)], env=env, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stop = time.monotonic()+120
        while len(list(out.glob('part-*'))) < 4 and time.monotonic() < stop: time.sleep(.05)
        scheduler.kill()
        said = p.communicate(timeout=120)[1].splitlines()
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    assert p.returncode == 2 and len(said) == 1, said
    assert said[0].startswith('error: the Dask scheduler was lost; what is done is kept in')
    done = len(list(out.glob('part-*')))
    assert 4 <= done < 40
    summary = predict_many(photos, out, model='nano', part_size=1, workers=1)
    assert summary['parts_before'] == done
    pd.testing.assert_frame_equal(rows(out), rows(answers[0]))


def test_full_disk_keeps_what_is_done():
    "The old file stays, no half one is left, and the error says how to go on"
    import fsspec

    class Full(type(fsspec.filesystem('memory'))):
        cachable = False
        def mv(self, *args, **kwargs): raise OSError(28, 'No space left on device')
    with pytest.raises(OSError, match=r'part-1: not written \(No space left.*goes on'):
        batch._put(Full(), '/x/part-1', b'abc')


def test_the_command(photos, tmp_path):
    code = 'from fer_nbdev.cli import _batch; _batch()'

    def fer_batch(*args):
        return subprocess.run([sys.executable, '-c', code, *args], capture_output=True, text=True,
                              cwd=photos, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    out = str(tmp_path/'out')
    first = fer_batch('below', 'cut.jpg', out, '--cropped', '--workers', '1', '--json')
    told = json.loads(first.stdout)
    assert (first.returncode, told['faces'], told['errors']) == (0, 34, 1)
    assert first.stderr.strip() == 'note: 1 unreadable; see the column error'
    none = fer_batch('grey.png', str(tmp_path/'none'), '--workers', '1')
    assert none.returncode == 1 and 'without_face 1' in none.stdout
    other = fer_batch('below', out)
    assert other.returncode == 2 and other.stderr.startswith('error: ')
    assert len(other.stderr.splitlines()) == 1
