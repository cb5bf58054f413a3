"Whatever is wrong with a file of faces, one error says what, where and how to mend it"
import contextlib, gzip, io, json, os, shutil, socket, subprocess, sys, tarfile, tempfile
import zipfile, zlib
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from fer_nbdev import files
from fer_nbdev.data import VOTES, load_fer

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (6, 48, 48), dtype=np.uint8)
USAGE = ['Training']*4 + ['PublicTest', 'PrivateTest']
PIXELS = [' '.join(map(str, im.ravel())) for im in IMAGES]
ROWS = [f"{i},{p},{u}" for i, (p, u) in enumerate(zip(PIXELS, USAGE))]
HEAD = 'emotion,pixels,Usage'


def csv(rows=ROWS, head=HEAD, end='\n'): return ('\n'.join([head, *rows])+end).encode()


def row2(old, new):
    return csv([r.replace(old, new, 1) if i == 2 else r for i, r in enumerate(ROWS)])


def pixel(new): return row2(PIXELS[2], ' '.join([new, *PIXELS[2].split()[1:]]))


def short(n): return row2(PIXELS[2], ' '.join(PIXELS[2].split()[:n]))


def encoded(im, kind='png', **kwargs):
    b = io.BytesIO()
    Image.fromarray(im).save(b, kind, **kwargs)
    return b.getvalue()


def png(im=IMAGES[0]): return encoded(im)


def bomb(): return encoded(np.zeros((10_000, 10_000), np.uint8), compress_level=9)


def zipped(members, **kwargs):
    b = io.BytesIO()
    with zipfile.ZipFile(b, 'w', **kwargs) as z:
        for name, data in members.items(): z.writestr(name, data)
    return b.getvalue()


def tarred(mode, members):
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


def write(root, members):
    for n, b in members.items():
        (root/n).parent.mkdir(parents=True, exist_ok=True)
        (root/n).write_bytes(b)


def refused(path, *parts, error=ValueError):
    "`load_fer` raises one error of a few lines that has all `parts`, and nobody else's traceback"
    with pytest.raises(error) as e: load_fer(path)
    said = str(e.value)
    for p in parts: assert p in said, said
    assert len(said) < 700 and said.count('\n') < 3, said
    assert e.value.__cause__ is None
    assert e.value.__context__ is None or e.value.__suppress_context__


# csv

MEND = 'mend or delete this row'
TWO = 'row 2 (line 4)'
SHORT_AND_LONG = [f"{i},{' '.join(['7']*n)},Training" for i, n in enumerate((2303, 2305))]
TRAIN_ROWS = [r.rpartition(',')[0] for r in ROWS]
CSV = { # what: (bytes of fer2013.csv, parts of the message)
    'a missing column': (csv(head='emotion,pixel,Usage'),
                         ["no column 'pixels'", "found ['emotion', 'pixel', 'usage']", 'Kaggle']),
    'no labels': (csv(PIXELS[:1], head='pixels'),
                  ["no column 'emotion'", 'test.csv', 'Use fer2013.csv']),
    '2,303 pixels': (short(2303), [TWO, '2,303 pixels, expected 2,304 (48x48)', MEND]),
    '2,305 pixels': (pixel('7 7'), [TWO, '2,305 pixels', MEND]),
    'a short row and a long one that make up for each other': (
        csv(SHORT_AND_LONG), ['row 0 (line 2)', '2,303 pixels']),
    'no pixels': (short(0), [TWO, '0 pixels', MEND]),
    'a pixel of 256': (pixel('256'), [TWO, "pixel 0 is '256', expected 0 to 255", MEND]),
    'a pixel of 300': (pixel('300'), ["pixel 0 is '300'"]),
    'a pixel of four digits': (pixel('1000'), ["pixel 0 is '1000'"]),
    'a pixel of abc': (pixel('abc'), [TWO, "pixel 0 is 'abc'", MEND]),
    'a pixel of -1': (pixel('-1'), ["pixel 0 is '-1'"]),
    'a pixel of 1.5': (pixel('1.5'), ["pixel 0 is '1.5'"]),
    'a no-break space': (pixel('7\xa07'), [TWO, r"pixel 0 is '7\xa07'", MEND]),
    'a comma between pixels': (pixel('7,7'), [TWO, '4 columns, expected 3', MEND]),
    'a comma at the end': (row2('Training', 'Training,'),
                           [TWO, '4 columns, expected 3, a comma too many at its end', MEND]),
    'a line break between pixels': (pixel('7\n7'), [TWO, '2 columns, expected 3', MEND]),
    'a line break between quoted pixels': (
        row2(PIXELS[2], '"7\n'+PIXELS[2]+'"'), [TWO, r"pixel 0 is '7\n", MEND]),
    'a NUL among the pixels': (pixel('7\0'), [TWO, r"pixel 0 is '7\x00'"]),
    'a row of a megabyte': (pixel('7 '*400_000), [TWO, '402,303 pixels, expected 2,304']),
    'a longer row': (pixel('7 '*800_000), [TWO, 'characters, expected about 9,216', MEND]),
    'a row without an end': (pixel('7 '*3_000_000), [TWO, 'characters, expected about']),
    'a quotation mark alone': (csv([ROWS[0].replace(',', ',"', 1)]+ROWS*4),
                               ['row 0 (line 2)', 'without its other half', MEND]),
    'a quotation mark alone, early in a large file': (
        csv([ROWS[0].replace(',', ',"', 1)]+ROWS*200), ['row 0 (line 2)', 'its other half', MEND]),
    'label 7': (row2('2,', '7,'), [TWO, "emotion '7', expected 0 to 6", MEND]),
    'label x': (row2('2,', 'x,'), ["emotion 'x'", 'angry, disgust, fear', MEND]),
    'label 2.0': (row2('2,', '2.0,'), ["emotion '2.0'"]),
    'no label': (row2('2,', ','), ["emotion ''"]),
    'unknown usage': (row2('Training', 'Train'), [
        TWO, "usage 'Train', expected Training, PublicTest, PrivateTest", MEND]),
    'a last line cut off in its pixels': (csv(end='')[:-3000], [
        'row 5 (line 7)', '2 columns, expected 3', 'cut off', 'Download it again']),
    'a last line cut off in its usage': (csv(end='')[:-4], [
        'row 5 (line 7)', "usage 'Private'", 'cut off']),
    'no usage, a last line cut off': (csv(TRAIN_ROWS, 'emotion,pixels', '')[:-3000], [
        'row 5 (line 7)', 'pixels, expected 2,304', 'cut off']),
    'an empty line before': (csv(['', *ROWS]).replace(b' ', b'x', 1), [
        'row 0 (line 3)', 'pixel 0 is']),
    'nothing': (b'', ['empty file (0 bytes)', 'download it again']),
    'only a header': (b'emotion,pixels,Usage\n', ['a header and no rows', 'Download it again']),
    'a header and empty lines': (b'emotion,pixels,Usage'+b'\n'*9, ['a header and no rows']),
    'megabytes of empty lines': (csv()+b'\n'*9_000_000, ['fer2013.csv line', 'only empty lines']),
    'a web page': (b'\n<!DOCTYPE html><html><body>Sign in</body></html>', [
        'a web page (HTML)', 'Log in to Kaggle']),
    'UTF-16': (csv().decode().encode('utf-16'), [
        'wrong encoding', 'UTF-16', "Save it as 'CSV UTF-8'"]),
    'UTF-16 without its mark': (csv().decode().encode('utf-16-le'), ['wrong encoding', 'UTF-16']),
    'Latin-1 in the header': ('émotion,pixels,Usage\n1'.encode('latin-1'), [
        'wrong encoding', 'not UTF-8']),
    'Latin-1 in a row': (row2('Training', 'Entraîné').decode().encode('latin-1'), [
        TWO, "usage 'Entra"]),
    'a picture': (png(), ['fer2013.csv', 'wrong encoding', 'or it is no text at all']),
}


@pytest.mark.parametrize('what', CSV)
def test_csv(tmp_path, what):
    data, parts = CSV[what]
    (tmp_path/'fer2013.csv').write_bytes(data)
    refused(tmp_path/'fer2013.csv', str(tmp_path/'fer2013.csv'), *parts)


@pytest.mark.parametrize('what', ['2,303 pixels', 'label 7', 'nothing', 'a row without an end'])
def test_csv_in_a_zip_has_the_same_error(tmp_path, what):
    data, parts = CSV[what]
    (tmp_path/'archive.zip').write_bytes(zipped({'fer2013/fer2013.csv': data}))
    refused(tmp_path/'archive.zip', 'archive.zip -> fer2013/fer2013.csv', *parts)


def test_two_byte_order_marks_are_not_a_csv_without_labels(tmp_path):
    (tmp_path/'fer2013.csv').write_bytes(b'\xef\xbb\xbf'*2+csv())
    assert (load_fer(tmp_path).images == IMAGES).all()


@pytest.mark.parametrize('bad', [0, 599, 1100, 1199])
def test_only_one_block_is_read_row_by_row(tmp_path, monkeypatch, bad):
    "However far down the wrong row is, its error costs some 2 MB of slow reading"
    rows = ROWS*200
    rows[bad] = rows[bad].replace(',', ',x', 1)
    (tmp_path/'fer2013.csv').write_bytes(csv(rows))
    seen, real = [], files._row_error
    monkeypatch.setattr(files, '_row_error', lambda *a: seen.append(1) or real(*a))
    refused(tmp_path, f'row {bad} (line {bad+2}): pixel 0 is', 'cut off' if bad == 1199 else MEND)
    assert len(seen) < 300, len(seen)


# pictures in folders

floats = np.linspace(0, 1, 48*48, dtype=np.float32).reshape(48, 48)
FOLDER = { # what: (name, bytes, parts of the message)
    'an unknown class': ('train/contempt/1.png', png(), [
        "unknown class 'contempt'", 'Expected one of angry, disgust', 'rename the folder']),
    'no class': ('train/1.png', png(), ['not in a folder of a split and', 'train/angry/1.png']),
    'a line break in a name': ('train/sa\nd/2.png', png(), [r"unknown class 'sa\nd'"]),
    'an unknown split': ('holdout/angry/1.png', png(), ['not in a folder of a split and a class']),
    'a picture cut off': ('train/sad/2.png', png()[:900], [
        '2.png', 'corrupt', 'Delete it or download it again']),
    'a jpg cut off': ('train/sad/2.jpg', encoded(IMAGES[0], 'jpeg')[:600], ['2.jpg', 'corrupt']),
    'text called png': ('train/sad/2.png', b'not a picture at all', ['2.png', 'not a picture']),
    'a zero-byte picture': ('train/sad/2.png', b'', ['2.png', 'empty file (0 bytes)', 'Delete it']),
    'a decompression bomb': ('train/sad/2.png', bomb(), [
        '2.png', '10,000x10,000 pixels', 'not unpacked', 'Replace it']),
    'inf in a float picture': ('train/sad/2.tif', encoded(floats+np.float32(np.inf), 'tiff'), [
        '2.tif', 'holds inf or NaN', 'Save it with 8 bits']),
    'floats from 0 to 255': ('train/sad/2.tif', encoded(floats*255, 'tiff'), [
        'floats from 0 to 255, expected 0 to 1', 'Save it']),
    '32 bits a pixel': ('train/sad/2.tif', encoded(np.full((48, 48), 7, np.int32), 'tiff'), [
        'more than 16 bits', 'Save it']),
    'a class that ends empty': ('train/fear/2.heic', b'x', [
        'train/fear', 'no picture that can be read, found train/fear/2.heic', 'to png']),
    'a program called png': ('train/sad/2.png', b'%!PS-Adobe-3.0 EPSF-3.0\n', ['corrupt']),
}


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('what', FOLDER)
@pytest.mark.parametrize('form', ['folder', 'zip', 'tar'])
def test_folder(tmp_path, what, form):
    name, data, parts = FOLDER[what]
    members, path = {'train/happy/1.png': png(), name: data}, tmp_path
    if form == 'folder': write(tmp_path, members)
    else:
        path = tmp_path/f'faces.{form}'
        path.write_bytes(zipped(members) if form == 'zip' else tarred('w', members))
    refused(path, str(tmp_path), *parts)


def test_an_empty_class_folder_is_an_error(tmp_path):
    write(tmp_path, {'train/happy/1.png': png()})
    (tmp_path/'train/Fearful').mkdir()
    refused(tmp_path, 'train/Fearful: no picture that can be read, found nothing')
    (tmp_path/'a.zip').write_bytes(zipped({'train/happy/1.png': png(), 'train/sad/': b''}))
    refused(tmp_path/'a.zip', 'train/sad: no picture that can be read')


# archives and parquet

ok_zip = zipped({'fer2013.csv': csv()})
ok_tgz = tarred('w:gz', {'fer2013.csv': csv()})
EVIL = {'train/happy/1.png': png(), '../../evil.png': png()}
ENCODED = dict(usage=['Training'], emotion=[3], image=[png()])
VOTED = ENCODED | {f'ferplus_{v}': [1] for v in VOTES}
ok_parquet = parquet(**ENCODED)


def unknown_compression():
    "A zip whose file says that it was packed by method 97"
    b = bytearray(ok_zip)
    for sign, at in ((b'PK\3\4', 8), (b'PK\1\2', 10)): b[b.index(sign)+at] = 97
    return bytes(b)


def encrypted():
    b = bytearray(ok_zip)
    for sign, at in ((b'PK\3\4', 6), (b'PK\1\2', 8)): b[b.index(sign)+at] |= 1
    return bytes(b)


CUT = ['not a complete archive', 'Download it again']
OTHER = { # what: (file name, bytes, parts of the message)
    'a zip with ../': ('a.zip', zipped(EVIL), [
        "'../../evil.png' points out of the archive", 'pack it anew']),
    'a zip with an absolute path': ('a.zip', zipped({'/etc/evil.png': png()}), ['points out of']),
    'a zip with back slashes': ('a.zip', zipped({'..\\evil.png': png()}), ['points out of']),
    'a tar with ../': ('a.tar', tarred('w', {'../evil.png': png()}), [
        "'../evil.png' points out of the archive"]),
    'a zip cut off': ('a.zip', ok_zip[:len(ok_zip)//2], CUT),
    'a tar.gz cut off': ('a.tar.gz', ok_tgz[:len(ok_tgz)//2], CUT),
    'a zip of nothing': ('a.zip', zipped({}), [
        'no csv, parquet or picture in it', 'found nothing', 'Give the path of fer2013.csv']),
    'a zip of other things': ('a.zip', zipped({'notes.txt': b'hello'}), [
        'no csv, parquet or picture', 'notes.txt']),
    'a zip that is a web page': ('a.zip', b'<html>Sign in', ['a web page', 'Log in to Kaggle']),
    'a zip of unknown compression': ('a.zip', unknown_compression(), [
        'a.zip -> fer2013.csv', 'compression method is not supported', 'Unpack it yourself']),
    'a zip with a password': ('a.zip', encrypted(), [
        'a.zip -> fer2013.csv', 'encrypted', 'Unpack it yourself', 'password']),
    'text called tar.gz': ('a.tar.gz', b'hello', CUT),
    'parquet with other columns': ('a.parquet', parquet(label=[1], img=[b'']), [
        'no column usage, emotion, image', "found ['label', 'img']", 'Expected usage, emotion']),
    'parquet with label 7': ('a.parquet', parquet(**ENCODED | dict(emotion=[7])), [
        'row 0', "emotion '7'"]),
    'parquet with pixels as text': ('a.parquet', parquet(**ENCODED | dict(image=['1 2 3'])), [
        'column image', 'string', 'encoded bytes']),
    'parquet with line breaks as usage': ('a.parquet', parquet(
        **ENCODED | dict(usage=['\n'*15])), [r"row 0: usage '\n\n"]),
    'parquet with labels as text': ('a.parquet', parquet(**ENCODED | dict(emotion=['happy'])), [
        'row 0', "emotion 'happy'"]),
    'parquet with lists as usage': ('a.parquet', parquet(**ENCODED | dict(usage=[['Training']])), [
        'row 0: usage']),
    'parquet with an empty picture': ('a.parquet', parquet(**ENCODED | dict(image=[b''])), [
        'image 0', 'empty file']),
    'parquet with a missing picture': ('a.parquet', parquet(
        usage=['Training']*2, emotion=[1, 2], image=[png(), None]), ['image 1', 'empty file']),
    'parquet cut off': ('a.parquet', ok_parquet[:500], ['not a complete parquet file', 'Download']),
    'parquet damaged at its end': ('a.parquet', ok_parquet[:-300]+bytes(292)+ok_parquet[-8:], [
        'not a complete parquet file', 'Download it again']),
    'parquet damaged in a page': ('a.parquet', ok_parquet[:4]+bytes(80)+ok_parquet[84:], [
        'not a complete parquet file']),
    'parquet without rows': ('a.parquet', parquet(**{k: v[:0] for k, v in ENCODED.items()} | dict(
        image=pd.Series([], dtype='binary[pyarrow]'))), ['no rows', 'Download it again']),
    'parquet with 11 votes': ('a.parquet', parquet(**VOTED | dict(ferplus_fear=[11])), [
        "row 0: ferplus_fear is '11', expected a whole number of votes from 0 to 10"]),
    'parquet with half a vote': ('a.parquet', parquet(**VOTED | dict(ferplus_NF=[.5])), [
        "row 0: ferplus_NF is '0.5'"]),
    'parquet without a vote': ('a.parquet', parquet(**VOTED | dict(ferplus_NF=[None])), [
        "row 0: ferplus_NF is 'None'"]),
    'parquet with nine votes': (
        'a.parquet', parquet(**{k: v for k, v in VOTED.items() if k != 'ferplus_sadness'}), [
            'no column ferplus_sadness, though other votes are there']),
    'parquet with row as text': ('a.parquet', parquet(**ENCODED, row=['x']), [
        "row 0: row is 'x', expected a whole number"]),
    'parquet with a row twice': ('a.parquet', parquet(
        **{k: v*2 for k, v in ENCODED.items()}, row=[5, 5]), ['row 5 is in', 'already', 'a copy']),
    'no form that is known': ('faces.npy', b'123', ['not a form that is known', 'Expected a .csv']),
}


@pytest.mark.parametrize('what', OTHER)
def test_archive_or_parquet(tmp_path, what):
    name, data, parts = OTHER[what]
    (tmp_path/name).write_bytes(data)
    refused(tmp_path/name, str(tmp_path/name), *parts)


PARTS = { # what: (a.parquet, b.parquet, parts of the message)
    'the second is wrong': (ok_parquet, parquet(**ENCODED | dict(emotion=[7])), [
        "b.parquet row 0: ", "emotion '7'"]),
    'the same file twice': (ok_parquet, ok_parquet, ['b.parquet: a copy of', 'Move one of them']),
    'the same rows twice': (parquet(**ENCODED, row=[9]), parquet(
        **ENCODED | dict(image=[png(IMAGES[1])]), row=[9]), [
            'b.parquet: row 9 is in', 'a.parquet']),
    'votes in one of them': (ok_parquet, parquet(**VOTED), ['votes is only in one of it and']),
    'the second is cut off': (ok_parquet, ok_parquet[:500], ['b.parquet: not a complete parquet']),
}


@pytest.mark.parametrize('what', PARTS)
def test_parquet_in_parts(tmp_path, what):
    a, b, parts = PARTS[what]
    write(tmp_path, {'a.parquet': a, 'b.parquet': b})
    refused(tmp_path, str(tmp_path), *parts)


def test_damaged_inside_a_zip(tmp_path):
    b = bytearray(ok_zip)
    b[len(b)//2] ^= 255 # the file's checksum no longer fits
    (tmp_path/'a.zip').write_bytes(b)
    refused(tmp_path/'a.zip', 'a.zip -> fer2013.csv', *CUT)


# paths

def test_missing_path(tmp_path):
    refused(tmp_path/'nowhere.csv', 'no such file', 'Check the path', error=FileNotFoundError)


def test_missing_path_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('FER2013_PATH', str(tmp_path/'nowhere'))
    refused(None, 'FER2013_PATH', error=FileNotFoundError)


def test_a_broken_link_is_named(tmp_path):
    write(tmp_path, {'train/happy/1.png': png()})
    (tmp_path/'train/happy/2.png').symlink_to(tmp_path/'gone.png')
    refused(tmp_path, '2.png: cannot be read (No such file', error=OSError)


SPECIAL = { # what: (where, where load_fer is pointed, the name in the error)
    'as the csv': ('fer2013.csv', 'fer2013.csv', 'fer2013.csv'),
    'as the csv in a folder': ('fer2013.csv', '', 'fer2013.csv'),
    'as the votes': ('fer2013new.csv', '', 'fer2013new.csv'),
    'as the votes beside the csv': ('fer2013new.csv', 'fer2013.csv', 'fer2013new.csv'),
    'as a picture': ('p/train/happy/2.png', 'p', '2.png'),
    'as a zip': ('a.zip', 'a.zip', 'a.zip'),
    'as parquet': ('q/a.parquet', 'q', 'a.parquet'),
}


@pytest.mark.parametrize('what', SPECIAL)
@pytest.mark.parametrize('kind', ['named pipe', 'socket', 'device'])
def test_what_is_no_file_is_refused(tmp_path, what, kind):
    "A named pipe would wait for ever, and /dev/zero never ends"
    name, where, said = SPECIAL[what]
    write(tmp_path, {'fer2013.csv': csv(), 'p/train/happy/1.png': png()})
    path = tmp_path/name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == 'named pipe': os.mkfifo(path)
    elif kind == 'device': path.symlink_to('/dev/zero')
    else:
        with socket.socket(socket.AF_UNIX) as s, contextlib.chdir(path.parent): s.bind(path.name)
    refused(tmp_path/where, said, f'a {kind}, expected a file')


UNREADABLE = { # what: (files, which has no rights, where load_fer is pointed)
    'a class folder': ({'train/sad/1.png': png(), 'train/happy/1.png': png()}, 'train/sad', ''),
    'a folder': ({'d/fer2013.csv': csv()}, 'd', 'd'),
    'a csv': ({'fer2013.csv': csv()}, 'fer2013.csv', 'fer2013.csv'),
    'a picture': ({'train/happy/1.png': png()}, 'train/happy/1.png', ''),
    'a zip': ({'a.zip': ok_zip}, 'a.zip', 'a.zip'),
}


@pytest.mark.parametrize('what', UNREADABLE)
def test_no_rights(what):
    "What cannot be read is not called empty or cut off"
    members, locked, where = UNREADABLE[what]
    root, d = os.geteuid() == 0, Path(tempfile.mkdtemp())
    write(d, members)
    d.chmod(0o755)
    (d/locked).chmod(0)
    try:
        if root: os.seteuid(65534)
        refused(d/where, f'{d/locked}: cannot be read (Permission denied)', error=PermissionError)
    finally:
        if root: os.seteuid(0)
        (d/locked).chmod(0o755)
        shutil.rmtree(d)


def test_unknown_class_asked_for():
    with pytest.raises(ValueError, match="unknown classes \\['joy'\\]"): load_fer(classes=('joy',))


# votes of FER+

FERPLUS = 'Usage,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n'


def ferplus(votes): return FERPLUS+''.join(f'{u},{votes}\n' for u in USAGE)


ONES = ','.join(['1']*10)
VOTES_CSV = { # what: (text of fer2013new.csv, parts of the message)
    'nothing': ('', ['empty file (0 bytes)', 'Download it again']),
    'blanks': ('\n \n', ['empty file', 'Download it again']),
    'a header': (FERPLUS, ['0 rows are not those of the 6 faces']),
    'other rows': (FERPLUS+f'Training,{ONES}\n', [
        '1 rows are not those of the 6 faces', 'Use the fer2013new.csv that belongs']),
    'other columns': ('Usage,neutral\nTraining,1\n', [
        'no column happiness', "found ['Usage', 'neutral']", 'Expected fer2013new.csv']),
    'text': (ferplus('x'+',1'*9), [
        'row 0 (line 2)', "neutral is 'x'", 'whole number of votes', 'Download it again']),
    'cut off in its last row': (ferplus(ONES)[:-3]+'\n', [
        'row 5 (line 7)', '10 columns, expected 11', 'Download it again']),
    'a row too long': (ferplus(ONES).replace(',1\n', ',1,1\n', 1), [
        'row 0 (line 2)', '12 columns, expected 11']),
    'an empty vote': (ferplus(',1'*9), ["row 0 (line 2): neutral is ''"]),
    'too many': (ferplus(','.join(['300']*10)), ["neutral is '300'"]),
    'a half': (ferplus(','.join(['1.5']*10)), ["neutral is '1.5'"]),
    'infinite': (ferplus('inf'+',1'*9), ["neutral is 'inf'"]),
    'a quotation mark alone': (ferplus(ONES).replace('PublicTest', '"PublicTest'), [
        'row 4 (line 6)', 'columns, expected 11']),
    'a field without an end': (ferplus('"'+'1'*200_000), ['field larger than field limit']),
    'bytes that are no text': (ferplus(ONES).replace('Training', '\udcff\udcfe'), [
        '6 rows are not those']),
}


@pytest.mark.parametrize('what', VOTES_CSV)
@pytest.mark.parametrize('where', ['fer2013.csv', '', 'a.zip'])
def test_votes(tmp_path, what, where):
    data, parts = VOTES_CSV[what]
    members = {'fer2013.csv': csv(), 'fer2013new.csv': data.encode(errors='surrogateescape')}
    write(tmp_path, {'a.zip': zipped(members)} if where == 'a.zip' else members)
    refused(tmp_path/where, 'fer2013new.csv', *parts)


# bombs: read in a process of their own, whose memory is measured

LONG = HEAD.encode()+b'\n'+ROWS[0].encode()


def claims(side):
    "A png whose header says that it is `side` pixels wide and high"
    b = bytearray(png())
    b[16:24] = side.to_bytes(4, 'big')*2
    b[29:33] = zlib.crc32(b[12:29]).to_bytes(4, 'big')
    return bytes(b)


def sparse(name, size, data=b''):
    "A file of zeros after `data`, which takes no room on the disk"
    def make(d):
        write(d, {'fer2013.csv': csv()} if 'new' in name else {})
        write(d, {name: data})
        os.truncate(d/name, size)
        return d
    return make


def zip_of(name, data, size=1 << 29):
    def make(d):
        with zipfile.ZipFile(d/'a.zip', 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as z:
            with z.open(name, 'w', force_zip64=True) as f:
                for _ in range(size >> 22): f.write(data*((1 << 22)//len(data)))
        return d/'a.zip'
    return make


def tar_of(name, kind, size):
    "A tar.gz with one header, which says that `size` bytes follow; zeros do"
    def make(d):
        m = tarfile.TarInfo(name)
        m.type, m.size = kind, size
        with gzip.open(d/'a.tar.gz', 'wb', compresslevel=1) as f:
            f.write(m.tobuf(tarfile.GNU_FORMAT))
            for _ in range(1 << 7): f.write(bytes(1 << 22))
        return d/'a.tar.gz'
    return make


GB = 1 << 30
BOMBS = { # what: (function of a folder -> where load_fer is pointed, parts of the message)
    'a csv of 2 GB': (sparse('fer2013.csv', 2*GB, LONG), ['fer2013.csv: 2,147 MB, more than']),
    'a row of .9 GB': (sparse('fer2013.csv', 9*GB//10, LONG), ['row 0 (line 2)', 'characters']),
    'votes of 1 GB': (sparse('fer2013new.csv', GB), ['fer2013new.csv: 1,074 MB, more than']),
    'a png of 1 GB': (sparse('train/happy/1.png', GB, png()), ['1.png: 1,074 MB, more than']),
    'a png that claims 3.6 gigapixels': (
        sparse('train/happy/1.png', 10_000, claims(60_000)), ['1.png: ', 'pixels', 'unpacked']),
    'a png that claims 64 megapixels': (
        sparse('train/happy/1.png', 10_000, claims(8_000)), ['8,000x8,000 pixels, more than']),
    'parquet of 2 GB': (sparse('a.parquet', 2*GB, ok_parquet), ['a.parquet: 2,147 MB, more than']),
    'a zip of newlines': (zip_of('fer2013.csv', b'\n'), ['a.zip: says that it unpacks to 537 MB']),
    'a zip of one field': (zip_of('fer2013.csv', b'7'), ['a.zip: says that it unpacks to 537 MB']),
    'a zip of fewer newlines': (zip_of('fer2013.csv', b'\n', 240 << 20), ['empty lines']),
    'a tar with a csv of 2 GB': (
        tar_of('fer2013.csv', tarfile.REGTYPE, 2*GB), ['a.tar.gz: says that it unpacks to 2,147']),
    'a tar with a name of .5 GB': (
        tar_of('x', tarfile.GNUTYPE_LONGNAME, GB//2), ['a.tar.gz: not a complete archive']),
}
CHILD = """
import json, sys
from fer_nbdev.data import load_fer
try: said = repr(load_fer(sys.argv[1]))
except ValueError as e: said = str(e)
peak = next(int(l.split()[1])/1024 for l in open('/proc/self/status') if l.startswith('VmHWM'))
print(json.dumps(dict(said=said, peak=peak)))
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='memory is read from /proc')
@pytest.mark.parametrize('what', BOMBS)
def test_bombs_are_refused_before_they_are_read(tmp_path, what, measured):
    make, parts = BOMBS[what]
    path = make(tmp_path)
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', CHILD, path], timeout=120,
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    got = json.loads(r.stdout.splitlines()[-1])
    for p in [str(tmp_path), *parts]: assert p in got['said'], got
    assert len(got['said']) < 700, got
    assert got['peak'] < 500, got
    measured(f'memory to refuse {what}', f"{got['peak']:.0f} MB")


# what a fuzzer finds

def test_a_slice_of_the_fuzzer(tmp_path):
    "Six hundred damaged files; tests/fuzz_load_fer.py makes more"
    from fuzz_load_fer import fuzz
    counts, wrong = fuzz(tmp_path, seed=0, cases=600)
    assert not wrong, wrong[:3]
    assert sum(counts.values()) == 600 and counts['faces'] > 0 and counts['error'] > 200, counts


def test_colour_and_odd_sizes_are_taken_and_said_once(tmp_path, capsys):
    random = lambda *shape, dtype=np.uint8: rng.integers(0, np.iinfo(dtype).max, shape, dtype)
    for i in range(8):
        write(tmp_path, {f'train/happy/c{i}.png': encoded(random(48, 48, 3)),
                         f'train/happy/o{i}.jpg': encoded(random(90, 70), 'jpeg')})
    write(tmp_path, {'train/happy/a.png': encoded(random(48, 48, 4)),
                     'train/happy/w.png': encoded(random(48, 48, dtype=np.uint16))})
    faces = load_fer(tmp_path)
    said = capsys.readouterr().out
    assert faces.images.shape == (18, 48, 48)
    assert said.count('9 pictures in colour, made grey') == 1
    assert said.count('8 pictures of another size, resized to 48x48') == 1
    assert said.count('\n') == 1
