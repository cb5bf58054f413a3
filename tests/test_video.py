"Video: what comes out of a file and a camera, bad input, and processes that are stopped and killed"
import ctypes, io, json, os, shutil, signal, subprocess, sys, time
import cv2
import matplotlib
import matplotlib.cbook as cbook
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from fer_nbdev import video
from fer_nbdev.core import EMOTIONS, FIVE
from fer_nbdev.detect import find_faces, read_photo
from fer_nbdev.predict import load_predictor
from fer_nbdev.video import (_Source, _Watcher, _Writer, plot_timeline, predict_video, show_window,
                             time_shares)

FPS, SECONDS = 15, 2
FAST = dict(model='nano', max_side=320)
needs_ffmpeg = pytest.mark.skipif(not shutil.which('ffmpeg'), reason='needs ffmpeg')


def moving_head(seconds=SECONDS, size=(240, 320), fps=FPS):
    "Grace Hopper's head on a grey ground: it swings and comes closer; RGB frames"
    photo = read_photo(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False))
    head, (H, W) = photo[60:400, 130:410], size
    for i in range(round(seconds*fps)):
        t = i/fps
        h = round(H*(.6+.1*np.sin(2*t)))
        one = cv2.resize(head, (round(.82*h), h), interpolation=cv2.INTER_AREA)
        im = np.full((H, W, 3), 110, np.uint8)
        y, x = round(H*.1), round(W*(.25+.15*np.sin(2.5*t)))
        im[y:y+h, x:x+one.shape[1]] = one
        yield im


def write(path, frames, fps=FPS, code='MJPG'):
    frames = list(frames)
    fourcc = cv2.VideoWriter_fourcc(*code)
    out = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, frames[0].shape[1::-1])
    for im in frames: out.write(im[..., ::-1])
    out.release()
    return path


def ffmpeg(*args):
    command = ['ffmpeg', '-nostdin', '-v', 'error', '-y', *map(str, args)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def streams(path):
    "What ffprobe says about the streams of a file"
    command = ['ffprobe', '-v', 'error', '-show_streams', '-of', 'json', str(path)]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    return {s['codec_type']: s for s in json.loads(said)['streams']}


def times(path): return [t for t, _ in _Source(path)]


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return write(tmp_path_factory.mktemp('video')/'clip.mkv', moving_head())


@pytest.fixture(scope='module')
def long_clip(tmp_path_factory):
    "Long enough to be stopped in the middle"
    path = tmp_path_factory.mktemp('video')/'long.mkv'
    return write(path, list(moving_head(size=(480, 640)))*20)


@needs_ffmpeg
def test_video_with_sound_keeps_rate_length_and_sound(clip, tmp_path):
    source, out = tmp_path/'sound.mp4', tmp_path/'out.mp4'
    ffmpeg('-i', clip, '-f', 'lavfi', '-i', f'sine=duration={SECONDS}', '-c:v', 'libx264',
           '-c:a', 'aac', source)
    table = predict_video(source, out, **FAST)
    assert table.attrs['video'] == str(out) and table.attrs['note'] == ''
    before, after = streams(source), streams(out)
    assert after['video']['codec_name'] == 'h264' and after['video']['pix_fmt'] == 'yuv420p'
    assert after['audio']['codec_name'] == 'aac'
    assert after['video']['avg_frame_rate'] == before['video']['avg_frame_rate']
    assert np.allclose(times(out), times(source), atol=2e-3)
    assert abs(float(after['audio']['duration'])-SECONDS) < .1
    assert [p.name for p in sorted(tmp_path.iterdir())] == ['out.mp4', 'sound.mp4']
    drawn = np.abs(next(iter(_Source(out)))[1].astype(int)-next(iter(_Source(source)))[1])
    assert (drawn > 60).mean() > .01, 'nothing was drawn'


@needs_ffmpeg
def test_sound_that_mp4_does_not_take_is_encoded_anew(clip, tmp_path):
    source, out = tmp_path/'sound.mkv', tmp_path/'out.mp4'
    ffmpeg('-i', clip, '-f', 'lavfi', '-i', f'sine=duration={SECONDS}', '-c:v', 'copy',
           '-c:a', 'pcm_s16le', source)
    predict_video(source, out, **FAST)
    assert 'audio' in streams(out)


@pytest.mark.parametrize('ending', ['mp4', 'mkv'])
def test_without_ffmpeg_it_stays_mkv_and_says_so(clip, tmp_path, monkeypatch, capsys, ending):
    monkeypatch.setattr(video.shutil, 'which', lambda name: None)
    table = predict_video(clip, tmp_path/f'out.{ending}', **FAST)
    out = tmp_path/'out.mkv'
    assert table.attrs['video'] == str(out) and len(times(out)) == FPS*SECONDS
    assert 'out.mkv: Motion JPEG without sound, because ffmpeg is not installed' in \
        capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ['out.mkv']


def test_an_ffmpeg_that_fails_loses_nothing(clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(video, '_ffmpeg', lambda *args: 'Unknown encoder libx264')
    monkeypatch.setattr(video.shutil, 'which', lambda name: '/bin/ffmpeg')
    predict_video(clip, tmp_path/'out.mp4', **FAST)
    assert len(times(tmp_path/'out.mkv')) == FPS*SECONDS
    assert 'Unknown encoder libx264' in capsys.readouterr().err


def test_table(clip, tmp_path):
    "csv and parquet hold what is returned; each frame has the one face, and probabilities"
    table = predict_video(clip, table=tmp_path/'t.csv', **FAST)
    again = predict_video(clip, table=tmp_path/'t.parquet', **FAST)
    assert table.columns[:4].tolist() == ['frame', 'time', 'seconds', 'face']
    assert np.allclose(table[list(EMOTIONS)].sum(axis=1), 1, atol=1e-5)
    assert (table.emotion == table[list(EMOTIONS)].idxmax(axis=1)).all()
    pd.testing.assert_frame_equal(table, again)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path/'t.csv'), table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path/'t.parquet'), table)
    assert table.frame.tolist() == list(range(FPS*SECONDS)) and set(table.face) == {1}
    assert table.seconds.sum() == pytest.approx(SECONDS, abs=.01)
    five = predict_video(clip, model=load_predictor('nano', classes=FIVE), max_side=320)
    assert five.columns[-5:].tolist() == list(FIVE)


def test_boxes_go_with_the_face(clip):
    "The followed boxes overlap with those of a look at each frame"
    table = predict_video(clip, every=5, **FAST)
    for (_, im), row in zip(_Source(clip), table.itertuples()):
        f = find_faces(im, max_side=320)[0]
        assert video._overlaps([f], [(row.x, row.y, row.w, row.h)])[0, 0] > .6


def test_smoothing_is_a_filter_over_time_and_can_be_off(clip):
    "Without it: the answer for each frame's box. With it: changes are smaller, and the start equal"
    rough = predict_video(clip, smooth=0, every=1, **FAST)[list(EMOTIONS)].to_numpy()
    smooth = predict_video(clip, smooth=.5, every=1, **FAST)[list(EMOTIONS)].to_numpy()
    assert np.allclose(rough[0], smooth[0])
    assert np.abs(np.diff(smooth, axis=0)).sum() < .5*np.abs(np.diff(rough, axis=0)).sum()
    share, want = 1-np.exp(-1/FPS/.5), rough[0]
    for p in rough[1:]: want = want+share*(p-want)
    assert np.allclose(smooth[-1], want, atol=1e-3)


def test_numbers_of_faces():
    "Two faces keep theirs, one that is gone for a moment comes back with it, a late one is new"
    watcher = _Watcher(load_predictor('nano'), every=1)
    boxes = {0: [(10, 10, 40, 50), (200, 20, 40, 50)], 1: [(205, 22, 40, 50)],
             2: [(14, 12, 40, 50), (210, 24, 40, 50)], 60: [(14, 12, 40, 50)]}
    im, seen = np.full((240, 320, 3), 128, np.uint8), []
    find = video._look
    try:
        for i, found in boxes.items():
            faces = [video.FaceBox(*f) for f in found]
            video._look = lambda *args: faces
            seen.append([n for n, _ in watcher(im, i/FPS)])
    finally: video._look = find
    assert seen == [[1, 2], [2], [1, 2], [3]]


@needs_ffmpeg
def test_variable_frame_rate(clip, tmp_path):
    "Each row has the time of its frame, and the video that comes out is as long as the other"
    source, out = tmp_path/'variable.mp4', tmp_path/'out.mp4'
    ffmpeg('-i', clip, '-vf', r"select='lt(n\,10)+not(mod(n\,4))'", '-fps_mode', 'vfr',
           '-c:v', 'libx264', source)
    table = predict_video(source, out, **FAST)
    want = [i/FPS for i in range(FPS*SECONDS) if i < 10 or i % 4 == 0]
    assert np.allclose(table.groupby('frame').time.first(), want, atol=2e-3)
    longest = table.groupby('frame').seconds.first().max()
    assert longest == pytest.approx(4/FPS, abs=.01)
    assert times(out)[-1] == pytest.approx(want[-1], abs=.1)


@needs_ffmpeg
def test_a_rate_of_a_thousand(tmp_path):
    "So a browser's recordings say: the file is whole, and nobody is told otherwise"
    ffmpeg('-f', 'lavfi', '-i', 'testsrc=size=64x64:rate=1000', '-frames:v', '400',
           '-c:v', 'libx264', '-preset', 'ultrafast', tmp_path/'fast.mp4')
    source = _Source(tmp_path/'fast.mp4')
    assert source.fps == 25 and source.total == pytest.approx(10, abs=2)
    n = len(list(source))
    assert source.time == pytest.approx(n/1000, abs=.05) and source.note == ''


@needs_ffmpeg
def test_names_that_ffmpeg_would_take_for_commands(clip, tmp_path, monkeypatch):
    "And a file of the user's whose name we might want to use"
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, 'concat:a|b.mkv')
    (tmp_path/'-y.h264.mp4').write_bytes(b'precious')
    table = predict_video('concat:a|b.mkv', '-y.mp4', seconds=.2, **FAST)
    assert table.attrs['note'] == '' and 'video' in streams(tmp_path/'-y.mp4')
    assert (tmp_path/'-y.h264.mp4').read_bytes() == b'precious'
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize('size', [(121, 161), (120, 161), (121, 160)])
def test_odd_size(tmp_path, size):
    frames = list(moving_head(.4, size))
    writer = cv2.VideoWriter(str(tmp_path/'odd.avi'), cv2.VideoWriter_fourcc(*'FFV1'), FPS,
                             size[::-1])
    for im in frames: writer.write(im[..., ::-1])
    writer.release()
    source = _Source(tmp_path/'odd.avi')
    table = predict_video(tmp_path/'odd.avi', tmp_path/'out.mp4', **FAST)
    out = _Source(table.attrs['video'])
    assert out.size == tuple(n+n % 2 for n in source.size) and len(list(out)) == len(frames)
    even = _Writer(tmp_path/'even.mkv', FPS, size[::-1])
    even.add(np.zeros((*size, 3), np.uint8), 0)
    assert _Source(even.close()[0]).size == tuple(n+n % 2 for n in size[::-1])


def test_a_video_without_a_face(tmp_path):
    write(tmp_path/'grey.mkv', np.full((20, 120, 160, 3), 128, np.uint8))
    table = predict_video(tmp_path/'grey.mkv', tmp_path/'out.mp4', tmp_path/'t.csv', **FAST)
    assert len(table) == 0 and table.attrs['frames'] == 20
    assert list(pd.read_csv(tmp_path/'t.csv')) == list(table)
    assert len(times(table.attrs['video'])) == 20
    assert time_shares(table).loc['all', 'seconds'] == 0
    plot_timeline(table)


def test_shares_of_time_and_timeline():
    "Shares count seconds, not frames; the figure names each face"
    matplotlib.use('agg')
    rows = [(0, 0., 1., 1, 'happy'), (1, 1., 3., 1, 'sad'), (1, 1., 3., 2, 'sad')]
    table = pd.DataFrame([[f, t, s, n, 0, 0, 9, 9, .9, e, .6, *(.6*(c == e)+.05 for c in EMOTIONS)]
                          for f, t, s, n, e in rows], columns=[*video._KNOWN, *EMOTIONS])
    shares = time_shares(table)
    assert list(shares.index) == ['1', '2', 'all'] and list(shares) == ['seconds', *EMOTIONS]
    assert shares.loc['1', ['seconds', 'happy', 'sad']].tolist() == [4, .25, .75]
    assert shares.loc['all', 'sad'] == pytest.approx(6/7)
    fig = plot_timeline(table)
    assert [ax.get_ylabel().split('\n')[0] for ax in fig.axes] == ['face 1', 'face 2']


def test_progress(clip, capsys):
    said = []
    predict_video(clip, progress=lambda *args: said.append(args), **FAST)
    n = FPS*SECONDS
    assert said[-1][:2] == (n, n) and said[-1][2] == 0
    assert all(total == n and left >= 0 for _, total, left in said)
    assert capsys.readouterr() == ('', '')
    said.clear()
    predict_video(clip, progress=lambda *args: said.append(args), seconds=1, **FAST)
    assert said[-1] == (FPS, FPS, 0)
    predict_video(clip, progress=True, **FAST)
    out, err = capsys.readouterr()
    assert out == '' and err.isascii() and '\\' not in err
    assert err.split('\r')[-1] == f'{n} frames, 100%, 0:00 left  \n'


# Bad input

def pipe(path): os.mkfifo(path)
def folder(path): path.mkdir()
def empty(path): path.write_bytes(b'')
def text(path): path.write_text('Dear diary\n'*99)
def playlist(path): path.write_text('#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n')
def nothing(path): pass
def picture_only_header(path): path.write_bytes(b'\x1aE\xdf\xa3'+bytes(99))


def only_sound(path):
    "A WAV file of one second of silence"
    import wave
    with wave.open(str(path), 'wb') as f:
        f.setparams((1, 2, 8000, 0, 'NONE', ''))
        f.writeframes(bytes(16_000))


SOURCES = {
    'missing': (nothing, FileNotFoundError, 'no such file'),
    'directory': (folder, IsADirectoryError, 'a folder, expected one video'),
    'empty': (empty, ValueError, r'empty \(0 bytes\)'),
    'text': (text, ValueError, 'no picture that OpenCV can read'),
    'cut after the header': (picture_only_header, ValueError, 'damaged, cut short or no video'),
    'only sound': (only_sound, ValueError, 'no picture'),
    'playlist': (playlist, ValueError, 'a playlist'),
    'pipe': (pipe, ValueError, 'a pipe, socket or device'),
}


@pytest.mark.parametrize('case', SOURCES)
def test_bad_source(tmp_path, capfd, case):
    make, error, says = SOURCES[case]
    path = tmp_path/'clip.mp4'
    make(path)
    with pytest.raises(error, match=f'clip.mp4: .*{says}'):
        predict_video(path, tmp_path/'out.mp4', tmp_path/'t.csv', **FAST)
    assert capfd.readouterr() == ('', ''), 'OpenCV or FFmpeg said something as well'
    assert [p.name for p in tmp_path.iterdir()] in ([], ['clip.mp4'])


def test_frames_larger_than_8k(tmp_path):
    im = np.zeros((6016, 6016, 3), np.uint8)
    write(tmp_path/'huge.mkv', [im])
    with pytest.raises(ValueError, match='huge.mkv: frames of 6016x6016, more than 36 million'):
        predict_video(tmp_path/'huge.mkv', tmp_path/'out.mp4')
    assert not (tmp_path/'out.part.mkv').exists()


@pytest.mark.parametrize('source,says', [(None, 'NoneType'), (1.5, 'float'), (True, 'bool'),
                                         (b'x', 'bytes')])
def test_a_source_is_a_path_or_a_number(source, says):
    with pytest.raises(TypeError, match=f'source: {says}'): predict_video(source)


@needs_ffmpeg
def test_an_mp4_without_its_end(clip, tmp_path):
    ffmpeg('-i', clip, '-c:v', 'libx264', tmp_path/'whole.mp4')
    data = (tmp_path/'whole.mp4').read_bytes()
    (tmp_path/'half.mp4').write_bytes(data[:len(data)//2])
    with pytest.raises(ValueError, match='half.mp4: .*cut short'):
        predict_video(tmp_path/'half.mp4', **FAST)


def test_a_file_that_ends_early_is_answered_as_far_as_it_goes(clip, tmp_path, capsys):
    (tmp_path/'half.mkv').write_bytes(clip.read_bytes()[:clip.stat().st_size//2])
    table = predict_video(tmp_path/'half.mkv', tmp_path/'out.mp4', **FAST)
    assert 5 < table.attrs['frames'] < FPS*SECONDS
    assert len(times(table.attrs['video'])) == table.attrs['frames']
    assert 'half.mkv: ends after' in capsys.readouterr().err


OPTIONS = {
    'every': [0, -1, 1.5, '3', None, True], 'smooth': [-1, '1', None, float('nan')],
    'min_score': [-1, 2, 'x'], 'max_side': [0, 9999, 320.], 'seconds': [-1, 'x'],
    'emoji': ['left', None], 'model': ['nanno'],
}


@pytest.mark.parametrize('name,value', [(n, v) for n, values in OPTIONS.items() for v in values])
def test_bad_option(clip, name, value):
    says = 'unknown predictor' if name == 'model' else f'{name}: .*, expected '
    for call in (predict_video, show_window):
        with pytest.raises(ValueError, match=says): call(clip, **{name: value})


def test_files_that_exist_are_kept(clip, tmp_path):
    for name, kw in (('out.mp4', 'out'), ('t.csv', 'table'), ('out.part.mkv', 'out')):
        place = tmp_path/name
        place.write_bytes(b'precious')
        wish = tmp_path/('out.mp4' if kw == 'out' else name)
        with pytest.raises(FileExistsError, match=f'{name}: exists; .*overwrite'):
            predict_video(clip, **{kw: wish}, **FAST)
        assert place.read_bytes() == b'precious'
        predict_video(clip, **{kw: wish}, overwrite=True, **FAST)
        assert wish.read_bytes() != b'precious'
        for f in tmp_path.iterdir(): f.unlink()
    copy = shutil.copy(clip, tmp_path/'same.mkv')
    with pytest.raises(ValueError, match='same.mkv: is the source'):
        predict_video(copy, copy, overwrite=True, **FAST)


@pytest.mark.parametrize('kw,name,error,says', [
    ('out', 'out.gif', ValueError, 'written as .mp4 or .mkv'),
    ('table', 't.xlsx', ValueError, 'written as .csv or .parquet'),
    ('out', 'nowhere/out.mp4', FileNotFoundError, 'make it first'),
    ('table', 'nowhere/t.csv', FileNotFoundError, 'make it first'),
])
def test_bad_place(clip, tmp_path, kw, name, error, says):
    with pytest.raises(error, match=says): predict_video(clip, **{kw: tmp_path/name}, **FAST)


def test_no_permission(clip, tmp_path, monkeypatch):
    "(The tests may run as root, who may write anywhere)"
    monkeypatch.setattr(video.os, 'access', lambda path, how: how == os.R_OK)
    with pytest.raises(PermissionError, match='out.mp4: no permission'):
        predict_video(clip, tmp_path/'out.mp4', **FAST)


def test_disk_full(clip, tmp_path, monkeypatch):
    "What was written stays, and the error says where"
    real, asked = shutil.disk_usage, []
    def usage(path):
        asked.append(path)
        return real(path)._replace(free=10**6 if len(asked) > 1 else 10**9)
    monkeypatch.setattr(video.shutil, 'disk_usage', usage)
    with pytest.raises(OSError, match=r'out.part.mkv: the disk is full \(1 MB left\) after 1.7 s'):
        predict_video(clip, tmp_path/'out.mp4', tmp_path/'t.csv', **FAST)
    assert len(times(tmp_path/'out.part.mkv')) == 26
    assert pd.read_csv(tmp_path/'t.csv').frame.max() == 25


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='/dev/full is a device of Linux')
def test_no_room_for_the_table(clip, tmp_path):
    "The video is finished all the same, and the error says where the rows are"
    (tmp_path/'t.csv.part').symlink_to('/dev/full')
    with pytest.raises(OSError, match=r't.csv: not written \(No space.*for is in .*t.csv.part'):
        predict_video(clip, tmp_path/'out.mkv', tmp_path/'t.csv', **FAST)
    assert len(times(tmp_path/'out.mkv')) == FPS*SECONDS


def test_a_limit_on_file_size(tmp_path):
    "OpenCV writes into nothing without a word; the loss is noticed at the end at the latest"
    code = """if True:
        import resource, sys, numpy as np
        from fer_nbdev.video import _Writer
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        w = _Writer(sys.argv[1], 25, (640, 480))
        rng = np.random.default_rng(0)
        for i in range(30): w.add(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8), i/25)
        w.close()"""
    r = subprocess.run([sys.executable, '-c', code, str(tmp_path/'out.mp4')], capture_output=True)
    assert b'out.part.mkv: could not be written to its end' in r.stderr.splitlines()[-1]
    assert 1 < len(times(tmp_path/'out.part.mkv')) < 30


class Camera:
    "Stands in for cv2.VideoCapture: a camera gives `n` frames, then nothing; files are files"
    real = cv2.VideoCapture
    def __init__(self, n): self.frames = iter(list(moving_head())[:n])
    def __call__(self, source, *args):
        return self.real(source, *args) if isinstance(source, str) else self
    def get(self, what): return 30. if what == cv2.CAP_PROP_FPS else -1.
    def read(self):
        im = next(self.frames, None)
        return (False, None) if im is None else (True, im[..., ::-1])


def test_camera_absent(capfd):
    for call in (predict_video, show_window):
        with pytest.raises(ValueError, match='camera 63: gives no picture; is it connected'):
            call(63)
    assert capfd.readouterr() == ('', '')
    with pytest.raises(ValueError, match='source: -1, expected'): predict_video(-1)


def test_camera_gone_while_running(tmp_path, monkeypatch, capsys):
    "What came before is finished and answered"
    monkeypatch.setattr(video.cv2, 'VideoCapture', Camera(12))
    source = _Source(0)
    frames = list(source)
    assert len(frames) == 12 and source.is_camera and 'no more pictures after' in source.note
    monkeypatch.setattr(video.cv2, 'VideoCapture', Camera(12))
    table = predict_video(0, tmp_path/'camera.mp4', tmp_path/'t.csv', **FAST)
    assert times(table.attrs['video'])
    assert table.attrs['frames'] == 12 and set(table.face) == {1}
    assert (table.time.diff().dropna() > 0).all()
    assert 'camera 0: no more pictures' in capsys.readouterr().err
    monkeypatch.setattr(video.cv2, 'VideoCapture', Camera(12))
    assert predict_video(0, seconds=0, **FAST).attrs['frames'] == 1
    assert len(pd.read_csv(tmp_path/'t.csv')) == len(table)


# Real processes

RUN = ("import sys; from fer_nbdev.video import predict_video as p\n"
       "t = p(sys.argv[1], sys.argv[2], sys.argv[3], model='nano', max_side=320, progress=True)\n"
       "print(t.attrs)")


def started(long_clip, tmp_path):
    "A process in the middle of its work: a megabyte is written"
    args = [sys.executable, '-c', RUN, str(long_clip), str(tmp_path/'o.mp4'), str(tmp_path/'t.csv')]
    p = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = tmp_path/'o.part.mkv'
    wait(lambda: part.exists() and part.stat().st_size > 10**6 or p.poll() is not None)
    assert p.poll() is None, p.communicate()
    return p, part


def wait(true, seconds=90):
    stop = time.monotonic()+seconds
    while not true():
        assert time.monotonic() < stop, 'waited too long'
        time.sleep(.02)


@pytest.mark.parametrize('sign', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_file(long_clip, tmp_path, sign):
    p, part = started(long_clip, tmp_path)
    p.send_signal(sign)
    out, err = p.communicate(timeout=120)
    assert p.returncode == 0 and "'stopped': True" in out, err
    assert 'stopped after' in err and 'Traceback' not in err and ' left' in err
    n = len(times(tmp_path/('o.mp4' if shutil.which('ffmpeg') else 'o.mkv')))
    assert 10 < n < 20*FPS*SECONDS and not part.exists()
    assert pd.read_csv(tmp_path/'t.csv').frame.max() == n-1


def test_after_kill_9_the_part_plays(long_clip, tmp_path):
    p, part = started(long_clip, tmp_path)
    p.kill()
    p.communicate(timeout=60)
    frames = list(_Source(part))
    assert len(frames) > 10 and frames[0][1].shape == (480, 640, 3)
    assert find_faces(frames[-1][1], max_side=320), 'the picture is damaged'
    with pytest.raises(FileExistsError, match='o.part.mkv: exists'):
        predict_video(long_clip, tmp_path/'o.mp4', **FAST)


# The window

@pytest.fixture
def screen():
    "The name of a virtual screen"
    if not shutil.which('Xvfb'): pytest.skip('needs Xvfb')
    pytest.importorskip('tkinter')
    read, write = os.pipe()
    args = ['Xvfb', '-displayfd', str(write), '-screen', '0', '800x700x24', '-nolisten', 'tcp']
    x = subprocess.Popen(args, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with open(read) as f: number = f.readline().strip()
    yield f':{number}'
    x.terminate()
    x.wait()


def screenshot(display):
    "What is on the screen, RGB"
    command = ['ffmpeg', '-nostdin', '-v', 'error', '-f', 'x11grab', '-video_size', '800x700', '-i',
               display, '-frames:v', '1', '-f', 'image2pipe', '-c:v', 'png', '-']
    png = subprocess.run(command, check=True, capture_output=True).stdout
    return np.asarray(Image.open(io.BytesIO(png)).convert('RGB'))


def press(display, letter):
    "A key goes down and up, as from a keyboard"
    x, test = ctypes.CDLL('libX11.so.6'), ctypes.CDLL('libXtst.so.6')
    x.XOpenDisplay.restype = ctypes.c_void_p
    d = ctypes.c_void_p(x.XOpenDisplay(display.encode()))
    key = x.XKeysymToKeycode(d, ctypes.c_ulong(ord(letter)))
    for down in (1, 0): test.XTestFakeKeyEvent(d, key, down, ctypes.c_ulong(0))
    x.XFlush(d)
    x.XCloseDisplay(d)


WINDOW = ("import sys; from fer_nbdev.video import show_window as w\n"
          "t = w(sys.argv[1], model='nano', max_side=320)\n"
          "print(t.attrs['frames'], sorted(set(t.face)))")


@needs_ffmpeg
def test_window_shows_the_faces_and_q_ends_it(long_clip, screen):
    "A file stands in for the camera; the key is a real one"
    try: ctypes.CDLL('libXtst.so.6')
    except OSError: pytest.skip('needs libXtst')
    p = subprocess.Popen([sys.executable, '-c', WINDOW, str(long_clip)], text=True,
                         env=dict(os.environ, DISPLAY=screen), stdout=subprocess.PIPE)
    wait(lambda: p.poll() is not None or (screenshot(screen) > 60).mean() > .5)
    assert p.poll() is None, 'it ended by itself'
    shot = screenshot(screen)
    assert find_faces(shot[:480, :640], max_side=320) and shot[480:520, :640].max() > 200
    if target := os.environ.get('FER_SCREENSHOT'): Image.fromarray(shot).save(target)
    press(screen, 'q')
    n, faces = p.communicate(timeout=60)[0].split(maxsplit=1)
    assert p.returncode == 0 and 0 < int(n) < 20*FPS*SECONDS and '1' in faces


def test_window_without_a_screen(clip):
    code = f'{WINDOW}\n'
    env = {k: v for k, v in os.environ.items() if k not in ('DISPLAY', 'WAYLAND_DISPLAY')}
    r = subprocess.run([sys.executable, '-c', code, str(clip)], capture_output=True, text=True,
                       env=env)
    last = r.stderr.splitlines()[-1]
    assert last.startswith('RuntimeError: no window can be opened (no display name')
    assert 'predict_video(source, out)' in last


def test_window_without_tk(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tkinter', None)
    with pytest.raises(ImportError, match="Tk is not installed.*apt install python3-tk"):
        show_window(clip, **FAST)
