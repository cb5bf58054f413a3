"Whatever is wrong with a file of faces, one error says what, where and how to mend it"
import io, tarfile, zipfile
import cv2
import numpy as np
import pandas as pd
import pytest
from fer_nbdev.data import load_fer

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (6, 48, 48), dtype=np.uint8)
USAGE = ['Training']*4 + ['PublicTest', 'PrivateTest']
ROWS = [f"{i},{' '.join(map(str, im.ravel()))},{u}" for i, (im, u) in enumerate(zip(IMAGES, USAGE))]
HEAD = 'emotion,pixels,Usage'


def csv(rows=ROWS, head=HEAD, end='\n'): return ('\n'.join([head, *rows])+end).encode()


def row2(old, new): return csv([r.replace(old, new, 1) if i == 2 else r for i, r in enumerate(ROWS)])


def pixel(new): return csv(['2,'+' '.join([new, *ROWS[2].split(',')[1].split()[1:]])+',Training' if i == 2 else r for i, r in enumerate(ROWS)])


def short(n, i=2): return csv([f"{j},{' '.join(r.split(',')[1].split()[:n])},{r.split(',')[2]}" if j == i else r for j, r in enumerate(ROWS)])


def png(im=IMAGES[0]): return cv2.imencode('.png', im)[1].tobytes()


def bomb(): return cv2.imencode('.png', np.zeros((10_000, 10_000), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def zipped(**members):
    b = io.BytesIO()
    with zipfile.ZipFile(b, 'w') as z:
        for name, data in members.items(): z.writestr(name, data)
    return b.getvalue()


def tarred(mode, **members):
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode=mode) as t:
        for name, data in members.items():
            m = tarfile.TarInfo(name)
            m.size = len(data)
            t.addfile(m, io.BytesIO(data))
    return b.getvalue()


def parquet(**columns):
    b = io.BytesIO()
    pd.DataFrame(columns).to_parquet(b)
    return b.getvalue()


SWAPPED = ROWS[3].split(',')[1]
MEND = 'mend or delete this row'
CSV = { # what: (bytes of fer2013.csv, parts of the message)
    'a missing column': (csv(head='emotion,pixel,Usage'), ["no column 'pixels'", "found ['emotion', 'pixel', 'usage']", 'Expected Kaggle']),
    'no labels': (csv([SWAPPED], head='pixels'), ["no column 'emotion'", 'test.csv', 'Use fer2013.csv']),
    '2,303 pixels': (short(2303), ['row 2 (line 4)', '2,303 pixels, expected 2,304', MEND]),
    '2,305 pixels': (pixel('7 7'), ['row 2 (line 4)', '2,305 pixels', MEND]),
    'a short row and a long one that make up for each other': (csv(['0,'+' '.join(['7']*2303)+',Training', '1,'+' '.join(['7']*2305)+',Training']), ['row 0 (line 2)', '2,303 pixels']),
    'no pixels': (short(0), ['row 2 (line 4)', '0 pixels', MEND]),
    'a pixel of 256': (pixel('256'), ['row 2 (line 4)', "pixel 0 is '256', expected 0 to 255", MEND]),
    'a pixel of 300': (pixel('300'), ["pixel 0 is '300'"]),
    'a pixel of four digits': (pixel('1000'), ["pixel 0 is '1000'"]),
    'a pixel of abc': (pixel('abc'), ['row 2 (line 4)', "pixel 0 is 'abc'", MEND]),
    'a pixel of -1': (pixel('-1'), ["pixel 0 is '-1'"]),
    'a pixel of 1.5': (pixel('1.5'), ["pixel 0 is '1.5'"]),
    'a quotation mark alone': (csv([ROWS[0].replace(',', ',"', 1)]+ROWS*4), ['fer2013.csv', 'without its other half', MEND]),
    'label 7': (row2('2,', '7,'), ['row 2 (line 4)', "emotion '7', expected 0 to 6", MEND]),
    'label x': (row2('2,', 'x,'), ["emotion 'x'", 'angry, disgust, fear', MEND]),
    'label 2.0': (row2('2,', '2.0,'), ["emotion '2.0'"]),
    'no label': (row2('2,', ','), ["emotion ''"]),
    'unknown usage': (row2('Training', 'Train'), ['row 2 (line 4)', "usage 'Train', expected Training, PublicTest, PrivateTest", MEND]),
    'a last line cut off in its pixels': (csv(end='')[:-3000], ['row 5 (line 7)', '2 columns, expected 3', 'cut off', 'Download it again']),
    'a last line cut off in its usage': (csv(end='')[:-4], ['row 5 (line 7)', "usage 'Private'", 'cut off']),
    'no usage, a last line cut off': (csv([r.rpartition(',')[0] for r in ROWS], 'emotion,pixels', '')[:-3000], ['row 5 (line 7)', 'pixels, expected 2,304', 'cut off']),
    'nothing': (b'', ['empty file (0 bytes)', 'download it again']),
    'only a header': (b'emotion,pixels,Usage\n', ['a header and no rows', 'Download it again']),
    'a web page': (b'\n<!DOCTYPE html><html><body>Sign in</body></html>', ['a web page (HTML)', 'Log in to Kaggle']),
    'UTF-16': (csv().decode().encode('utf-16'), ['wrong encoding', 'UTF-16', "Save it as 'CSV UTF-8'"]),
    'UTF-16 without its mark': (csv().decode().encode('utf-16-le'), ['wrong encoding', 'UTF-16']),
    'Latin-1 in the header': ('émotion,pixels,Usage\n1'.encode('latin-1'), ['wrong encoding', 'not UTF-8']),
    'Latin-1 in a row': (row2('Training', 'Entraîné').decode().encode('latin-1'), ['row 2 (line 4)', "usage 'Entra"]),
    'a picture': (png(), ['fer2013.csv', 'wrong encoding', 'or it is no text at all']),
}


@pytest.mark.parametrize('what', CSV)
def test_csv(tmp_path, what):
    data, parts = CSV[what]
    (tmp_path/'fer2013.csv').write_bytes(data)
    with pytest.raises(ValueError) as e: load_fer(tmp_path/'fer2013.csv')
    for p in [str(tmp_path/'fer2013.csv'), *parts]: assert p in str(e.value)


@pytest.mark.parametrize('what', ['2,303 pixels', 'label 7', 'nothing'])
def test_csv_in_a_zip_has_the_same_error(tmp_path, what):
    data, parts = CSV[what]
    (tmp_path/'archive.zip').write_bytes(zipped(**{'fer2013/fer2013.csv': data}))
    with pytest.raises(ValueError) as e: load_fer(tmp_path/'archive.zip')
    for p in ['archive.zip -> fer2013/fer2013.csv', *parts]: assert p in str(e.value)


FOLDER = { # what: (name, bytes, parts of the message)
    'an unknown class': ('train/contempt/1.png', png(), ["unknown class 'contempt'", 'Expected one of angry, disgust', 'rename the folder']),
    'no class': ('train/1.png', png(), ['not in a folder of a split and a class', 'train/angry/1.png']),
    'an unknown split': ('holdout/angry/1.png', png(), ['not in a folder of a split and a class']),
    'a picture cut off': ('train/sad/2.png', png()[:900], ['2.png', 'corrupt', 'Delete it or download it again']),
    'a jpg cut off': ('train/sad/2.jpg', cv2.imencode('.jpg', IMAGES[0])[1].tobytes()[:600], ['2.jpg', 'corrupt']),
    'text called png': ('train/sad/2.png', b'not a picture at all', ['2.png', 'corrupt, or not a picture']),
    'a zero-byte picture': ('train/sad/2.png', b'', ['2.png', 'empty file (0 bytes)', 'Delete it']),
    'a decompression bomb': ('train/sad/2.png', bomb(), ['2.png', '10,000x10,000 pixels', 'not unpacked', 'Replace it']),
}


@pytest.mark.parametrize('what', FOLDER)
@pytest.mark.parametrize('archive', [False, True])
def test_folder(tmp_path, what, archive):
    name, data, parts = FOLDER[what]
    if archive: (tmp_path/'faces.zip').write_bytes(zipped(**{'train/happy/1.png': png(), name: data}))
    else:
        for n, b in (('train/happy/1.png', png()), (name, data)):
            (tmp_path/n).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path/n).write_bytes(b)
    with pytest.raises(ValueError) as e: load_fer(tmp_path/'faces.zip' if archive else tmp_path)
    for p in [str(tmp_path), *parts]: assert p in str(e.value)


ok_zip = zipped(**{'fer2013.csv': csv()})
ok_tgz = tarred('w:gz', **{'fer2013.csv': csv()})
ENCODED = dict(usage=['Training'], emotion=[3], image=[png()])
OTHER = { # what: (file name, bytes, parts of the message)
    'a zip with ../': ('a.zip', zipped(**{'train/happy/1.png': png(), '../../evil.png': png()}), ["'../../evil.png' points out of the archive", 'pack it anew']),
    'a zip with an absolute path': ('a.zip', zipped(**{'/etc/evil.png': png()}), ['points out of the archive']),
    'a tar with ../': ('a.tar', tarred('w', **{'../evil.png': png()}), ["'../evil.png' points out of the archive"]),
    'a zip cut off': ('a.zip', ok_zip[:len(ok_zip)//2], ['not a complete archive', 'Download it again']),
    'a tar.gz cut off': ('a.tar.gz', ok_tgz[:len(ok_tgz)//2], ['not a complete archive', 'Download it again']),
    'a zip of nothing': ('a.zip', zipped(), ['no csv, parquet or picture in it', 'found nothing', 'Give the path of fer2013.csv']),
    'a zip of other things': ('a.zip', zipped(**{'notes.txt': b'hello'}), ['no csv, parquet or picture', 'notes.txt']),
    'parquet with other columns': ('a.parquet', parquet(label=[1], img=[b'']), ['no column usage, emotion, image', "found ['label', 'img']", 'Expected usage, emotion and image']),
    'parquet with label 7': ('a.parquet', parquet(**ENCODED | dict(emotion=[7])), ['row 0', "emotion '7'"]),
    'parquet with pixels as text': ('a.parquet', parquet(**ENCODED | dict(image=['1 2 3'])), ["column image", 'string', 'encoded bytes']),
    'parquet with labels as text': ('a.parquet', parquet(**ENCODED | dict(emotion=['happy'])), ['row 0', "emotion 'happy'"]),
    'parquet with an empty picture': ('a.parquet', parquet(**ENCODED | dict(image=[b''])), ['image 0', 'empty file']),
    'parquet cut off': ('a.parquet', parquet(**ENCODED)[:500], ['not a complete parquet file', 'Download it again']),
    'no form that is known': ('faces.npy', b'123', ['not a form that is known', 'Expected a .csv']),
}


@pytest.mark.parametrize('what', OTHER)
def test_archive_or_parquet(tmp_path, what):
    name, data, parts = OTHER[what]
    (tmp_path/name).write_bytes(data)
    with pytest.raises(ValueError) as e: load_fer(tmp_path/name)
    for p in [str(tmp_path/name), *parts]: assert p in str(e.value)


def test_parquet_folder_names_the_part(tmp_path):
    (tmp_path/'a.parquet').write_bytes(parquet(**ENCODED))
    (tmp_path/'b.parquet').write_bytes(parquet(**ENCODED | dict(emotion=[7])))
    with pytest.raises(ValueError, match="b.parquet: row 0: .*emotion '7'"): load_fer(tmp_path)


def test_damaged_inside_a_zip(tmp_path):
    b = bytearray(ok_zip)
    b[len(b)//2] ^= 255  # the file's checksum no longer fits
    (tmp_path/'a.zip').write_bytes(b)
    with pytest.raises(ValueError, match='not a complete archive.*fer2013.csv'): load_fer(tmp_path/'a.zip')


def test_missing_path(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such file or folder. Check the path'): load_fer(tmp_path/'nowhere.csv')


def test_missing_path_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('FER2013_PATH', str(tmp_path/'nowhere'))
    with pytest.raises(FileNotFoundError, match='FER2013_PATH'): load_fer()


def test_unknown_class_asked_for():
    with pytest.raises(ValueError, match="unknown classes \\['joy'\\]"): load_fer(classes=('joy',))


FERPLUS = 'Usage,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n'


@pytest.mark.parametrize('what,data,parts', [
    ('other rows', FERPLUS+'Training'+',1'*10+'\n', ['1 rows are not those of the 6 faces', 'Use the fer2013new.csv that belongs']),
    ('other columns', 'Usage,neutral\nTraining,1\n', ["no column ['happiness'", 'Expected fer2013new.csv']),
    ('text', FERPLUS+''.join(f'{u},x'+',1'*9+'\n' for u in USAGE), ['row 0 (line 2)', "neutral is 'x'", 'whole number of votes', 'Download it again']),
    ('cut off in its last row', FERPLUS+''.join(f'{u}'+',1'*10+'\n' for u in USAGE)[:-3]+'\n', ['row 5 (line 7)', "NF is 'nan'", 'Download it again']),
    ('too many', FERPLUS+''.join(f'{u}'+',300'*10+'\n' for u in USAGE), ["neutral is '300'"]),
    ('a half', FERPLUS+''.join(f'{u}'+',1.5'*10+'\n' for u in USAGE), ["neutral is '1.5'"]),
])
def test_votes(tmp_path, what, data, parts):
    (tmp_path/'fer2013.csv').write_bytes(csv())
    (tmp_path/'fer2013new.csv').write_text(data)
    with pytest.raises(ValueError) as e: load_fer(tmp_path/'fer2013.csv')
    for p in [str(tmp_path/'fer2013new.csv'), *parts]: assert p in str(e.value)


def test_colour_and_odd_sizes_are_taken_and_said_once(tmp_path, capsys):
    (tmp_path/'train/happy').mkdir(parents=True)
    for i in range(8):
        (tmp_path/f'train/happy/c{i}.png').write_bytes(png(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)))
        (tmp_path/f'train/happy/o{i}.jpg').write_bytes(cv2.imencode('.jpg', rng.integers(0, 256, (90, 70), dtype=np.uint8))[1].tobytes())
    (tmp_path/'train/happy/a.png').write_bytes(cv2.imencode('.png', rng.integers(0, 256, (48, 48, 4), dtype=np.uint8))[1].tobytes())
    (tmp_path/'train/happy/w.png').write_bytes(cv2.imencode('.png', rng.integers(0, 65536, (48, 48), dtype=np.uint16))[1].tobytes())
    faces = load_fer(tmp_path)
    said = capsys.readouterr().out
    assert faces.images.shape == (18, 48, 48)
    assert said.count('9 pictures in colour, made grey') == 1
    assert said.count('8 pictures of another size, resized to 48x48') == 1
    assert said.count('\n') == 1
