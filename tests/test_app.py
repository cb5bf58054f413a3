"""The web page as a process: its tabs in Chromium with a fake camera, the API by gradio_client
and plain HTTP, feedback from visitor to dashboard, and what a stranger may send"""
import base64
import io
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
import cv2
import httpx
import matplotlib.cbook as cbook
import numpy as np
import pytest
from PIL import Image
pytest.importorskip('gradio')
from fer_nbdev import app as fer_app
from fer_nbdev.app import build_app, serve, write_space
from fer_nbdev.predict import load_predictor

HOPPER = Path(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False))
NOTICE = 'prohibited in the European Union (AI Act, Article 5(1)(f))'
FLAGS = ('--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync '
         '--disable-background-networking --disable-component-update '
         '--use-fake-device-for-media-stream --use-fake-ui-for-media-stream').split()


def files_in(folder): return [f for f in Path(folder).rglob('*') if f.is_file()]


def jpg(im): return cv2.imencode('.jpg', im)[1].tobytes()


def encoded(im, kind='png', **kw):
    data = io.BytesIO()
    (im if isinstance(im, Image.Image) else Image.fromarray(im)).save(data, kind, **kw)
    return data.getvalue()


@contextmanager
def serving(tmp, before='', **kwargs):
    "A server as a process of its own, with its temporary files in `tmp`: (address, process)"
    code = f"import time, fer_nbdev.app as a\n{before}\na.serve(**{dict(port=0, **kwargs)!r})"
    p = subprocess.Popen([sys.executable, '-c', code], env={**os.environ, 'TMPDIR': str(tmp)},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp)
    try:
        p.said = ''
        while not p.said.rstrip().endswith('ends the server.'):
            line = p.stdout.readline()
            if not line: raise AssertionError(p.said)
            p.said += line
        url = re.search(r'http://\S+/', p.said)[0]
        yield url, p
    finally:
        p.kill()
        p.wait()


@pytest.fixture(scope='module')
def tmp(tmp_path_factory): return tmp_path_factory.mktemp('temporary')


@pytest.fixture(scope='module')
def server(tmp):
    with serving(tmp, megabytes=2, megapixels=20) as (url, _): yield url


def ask(url, data=None, **headers):
    "(status, answer) of a request"
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as r: return r.status, r.read()
    except urllib.error.HTTPError as e: return e.code, e.read()


# The API

def test_plain_http_gives_what_python_gives(server):
    status, said = ask(server+'api/predict', HOPPER.read_bytes())
    here, = load_predictor().predict(HOPPER)
    there, = json.loads(said)['faces']
    assert status == 200 and there['box'] == json.loads(json.dumps(here.box._asdict()))
    assert there['emotion'] == here.emotion and there['probabilities'] == here.probabilities


def test_gradio_client_gives_the_same(server):
    from gradio_client import Client, handle_file
    client = Client(server, verbose=False, analytics_enabled=False)
    there = client.predict(handle_file(HOPPER), api_name='/predict')
    assert there == json.loads(ask(server+'api/predict', HOPPER.read_bytes())[1])
    assert [e for e in client.view_api(return_format='dict')['named_endpoints']] == ['/predict']


def test_no_face(server):
    blank = jpg(np.full((90, 120, 3), 128, np.uint8))
    assert json.loads(ask(server+'api/predict', blank)[1])['faces'] == []


PIXELS = cv2.imencode('.png', np.zeros((5000, 5000), np.uint8))[1].tobytes()
HEADER = b'IHDR' + (20_000).to_bytes(4, 'big')*2 + PIXELS[24:29] # says that it is 20,000 x 20,000
BOMB = PIXELS[:12] + HEADER + zlib.crc32(HEADER).to_bytes(4, 'big') + PIXELS[33:]
REFUSED = { # what is sent, status, what the answer says
    'nothing': (b'', 400, 'empty'),
    'a text': (b'this is not a picture', 400, 'not a picture that this page reads'),
    'html': (b'<script>alert(1)</script>', 400, 'not a picture'),
    'svg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 400, 'not a picture'),
    'postscript': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 400, 'not a picture'),
    'heic': (b'\0\0\0\x18ftypheic'+b'\0'*99, 400, 'a HEIC picture, which needs a plug-in'),
    'a pickle': (pickle.dumps(dict(a=1)), 400, 'not a picture'),
    '32 bits a pixel': (encoded(np.full((60, 80), 70_000, np.int32), 'tiff'), 400, '32 bits'),
    'cut short': (HOPPER.read_bytes()[:9000], 400, 'damaged or cut short'),
    'a large file': (b'\xff\xd8'+b'\0'*2_100_000, 413, 'more than 2 MB'),
    'many pixels in a small file': (PIXELS, 400, 'more than 20 million pixels'),
    'very many pixels': (BOMB, 400, 'more than 20 million pixels'),
}


GREYS = [Image.new('L', (400, 400), i) for i in range(30)]
ACCEPTED = { # the answer is documented: what was found, or nothing
    'one pixel': encoded(np.zeros((1, 1), np.uint8)),
    'one column': encoded(np.zeros((3000, 1), np.uint8)),
    '16 bits': encoded(np.full((60, 80), 40_000, np.uint16)),
    'CMYK': encoded(Image.new('CMYK', (80, 60)), 'jpeg'),
    'a palette': encoded(Image.new('P', (80, 60)), 'gif'),
    'a gif of 31 pictures': encoded(GREYS[0], 'gif', save_all=True, append_images=GREYS),
}


@pytest.mark.parametrize('case', ACCEPTED)
def test_strange_pictures_have_an_answer(server, case):
    status, said = ask(server+'api/predict', ACCEPTED[case])
    assert status == 200 and json.loads(said)['faces'] == []


def test_a_hundred_faces(server):
    head = cv2.resize(cv2.imread(str(HOPPER))[60:400, 130:410], (80, 97))
    status, said = ask(server+'api/predict', jpg(np.tile(head, (10, 10, 1))))
    assert status == 200 and len(json.loads(said)['faces']) == 100


@pytest.mark.parametrize('case', REFUSED)
def test_bad_upload(server, case):
    data, status, says = REFUSED[case]
    got, said = ask(server+'api/predict', data)
    assert (got, says in json.loads(said)['error']) == (status, True), said


def test_bad_upload_by_gradio_client(server, tmp_path):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError
    (tmp_path/'text.jpg').write_text('this is not a picture')
    client = Client(server, verbose=False, analytics_enabled=False)
    with pytest.raises(AppError, match='not a picture that this page reads'):
        client.predict(handle_file(tmp_path/'text.jpg'), api_name='/predict')
    (tmp_path/'large.jpg').write_bytes(b'\xff\xd8'+b'\0'*2_100_000)
    with pytest.raises(Exception, match='exceeds the maximum file size'):
        client.predict(handle_file(tmp_path/'large.jpg'), api_name='/predict')


def test_a_form_is_told_how_to_send_a_photo(server):
    status, said = ask(server+'api/predict', b'--x', **{'Content-Type': 'multipart/form-data'})
    assert status == 415 and b'--data-binary' in said


RAW = { # what a stranger may write into the connection, and how the answer begins
    'no HTTP': (b'\0\1\2\3\r\n\r\n', b'HTTP/1.1 400'),
    'a negative length': (b'POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n',
                          b'HTTP/1.1 400'),
    'a bad chunk': (b'POST /api/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
                    b'zz\r\n', b'HTTP/1.1 400'),
    'no name that UTF-8 knows': (b'GET /%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n', b'HTTP/1.1 404'),
}


@pytest.mark.parametrize('case', RAW)
def test_what_is_hardly_http(server, case):
    data, begins = RAW[case]
    with socket.create_connection(urlsplit(server)[1].split(':'), 60) as s:
        s.sendall(data)
        assert s.recv(999).startswith(begins)


def test_who_goes_away_leaves_no_traceback(tmp_path):
    "A visitor closes the browser in the middle of an upload; another waits when the server ends"
    slow = 'a._Service.as_json = lambda self, data: time.sleep(9)'
    with serving(tmp_path, slow) as (url, p):
        head = b'POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n'
        place = urlsplit(url)[1].split(':')
        with socket.create_connection(place, 60) as s: s.sendall(head+b'ab')
        with socket.create_connection(place, 60) as s:
            s.sendall(head+b'abcde')
            time.sleep(1)
            p.send_signal(signal.SIGINT)
            said = p.communicate(timeout=60)[0]
    assert 'Traceback' not in said and 'Error' not in said, said


def test_uploads_together_have_a_limit(tmp_path):
    "Who sends more than there is room for is told to come again, and soon may"
    with serving(tmp_path, 'a._HELD = 3e6', megabytes=2) as (url, _):
        head = b'POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1900000\r\n\r\n'
        with socket.create_connection(urlsplit(url)[1].split(':'), 60) as s:
            s.sendall(head+bytes(1_800_000)) # and the rest is waited for
            time.sleep(1)
            status, said = ask(url+'api/predict', bytes(1_500_000))
            assert status == 503 and b'busy; try again' in said
        time.sleep(1)
        assert ask(url+'api/predict', HOPPER.read_bytes())[0] == 200


def test_an_address_of_another_server_is_not_fetched(server):
    "gradio would fetch it"
    body = json.dumps({'data': [{'path': 'http://127.0.0.1:9/a.jpg', 'meta':
                                 {'_type': 'gradio.FileData'}}]}).encode()
    kind = {'Content-Type': 'application/json'}
    status, said = ask(server+'gradio_api/call/predict', body, **kind)
    said = ask(f"{server}gradio_api/call/predict/{json.loads(said)['event_id']}")[1]
    assert b'event: error' in said


@pytest.mark.parametrize('path', [
    'gradio_api/file=/etc/passwd', 'gradio_api/file=../../../../etc/passwd',
    'gradio_api/file=..%2f..%2f..%2fetc/passwd', 'gradio_api/file=http://127.0.0.1:9/a.jpg',
    'gradio_api/proxy=http://127.0.0.1:9/', 'gradio_api/process_recording', 'monitoring',
    'static/../../../../etc/passwd', 'assets/..%2f..%2f..%2f..%2fetc/passwd',
])
def test_no_path_leads_outside(server, path):
    status, said = ask(server+path)
    assert status in (403, 404, 405) and b'root:' not in said


def test_headers(server):
    with urllib.request.urlopen(server) as r: headers = r.headers
    assert "default-src 'self'" in headers['content-security-policy']
    assert headers['x-content-type-options'] == 'nosniff' and 'server' not in headers


# The process

def test_says_what_is_prohibited_and_leaves_nothing(tmp_path):
    "After Ctrl-C and after a signal to end"
    for end in (signal.SIGINT, signal.SIGTERM):
        with serving(tmp_path) as (url, p):
            assert NOTICE in p.said
            folder, = tmp_path.glob('fer_app_*')
            (folder/'photo.jpg').touch()
            p.send_signal(end)
            assert p.wait(30) == 0, p.stdout.read()
            assert not list(tmp_path.iterdir()) and 'Traceback' not in p.stdout.read()


def test_a_killed_process_is_tidied_up_after(tmp_path):
    with serving(tmp_path) as (_, p):
        folder, = tmp_path.glob('fer_app_*')
        (folder/'photo.jpg').touch()
        p.kill()
        p.wait()
    assert files_in(tmp_path)
    with serving(tmp_path): assert not folder.exists() and not files_in(tmp_path)


def test_uploads_are_gone_within_a_minute(tmp_path):
    "Here within seconds, by the same clock"
    assert fer_app._KEEP+2*fer_app._LOOK < 60
    from gradio_client import Client, handle_file
    with serving(tmp_path, 'a._KEEP, a._LOOK = 8, .2') as (url, _):
        client = Client(url, verbose=False, analytics_enabled=False)
        client.predict(handle_file(HOPPER), api_name='/predict')
        assert files_in(tmp_path)
        for _ in range(100):
            if not files_in(tmp_path): break
            time.sleep(.2)
        assert not files_in(tmp_path)


def test_the_library_reports_to_nobody(tmp_path):
    "ONNX Runtime's telemetry leaves a file where temporary files are: here it leaves none"
    code = 'from fer_nbdev.predict import load_predictor; load_predictor()'
    clean = {k: v for k,v in os.environ.items() if k != 'ORT_DISABLE_TELEMETRY'}
    subprocess.run([sys.executable, '-c', code], env={**clean, 'TMPDIR': str(tmp_path)}, check=True)
    assert not list(tmp_path.iterdir())


OUTSIDE = """
import socket
connect = socket.socket.connect
def spy(self, address):
    if self.family!=socket.AF_UNIX and address[0] not in ('127.0.0.1', '::1', 'localhost'):
        print('OUTSIDE', address, flush=True)
        raise OSError('no network')
    return connect(self, address)
socket.socket.connect = socket.socket.connect_ex = spy
ask = socket.getaddrinfo
def asked(host, *args, **kwargs):
    if host not in ('127.0.0.1', 'localhost', None): print('OUTSIDE', host, flush=True)
    return ask(host, *args, **kwargs)
socket.getaddrinfo = asked"""


def test_the_server_reports_to_nobody(tmp_path):
    "From its start to its end, with an answer in between, it asks for no other machine"
    with serving(tmp_path, OUTSIDE) as (url, p):
        assert ask(url)[0] == 200 and ask(url+'api/predict', HOPPER.read_bytes())[0] == 200
        p.send_signal(signal.SIGINT)
        assert 'OUTSIDE' not in p.said+p.communicate(timeout=60)[0]


def test_port_taken():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        with pytest.raises(OSError, match=r'cannot use port \d+ of 127.0.0.1 .*--port'):
            serve(port=s.getsockname()[1])


@pytest.mark.parametrize('kwargs,says', [
    (dict(port=70_000), 'port: 70000, expected .*--port'), (dict(port='x'), "port: 'x', expected"),
    (dict(host='no such host'), "host: 'no such host' is no address .*--host"),
    (dict(model='smal'), "did you mean 'small'"), (dict(megabytes=-1), 'megabytes: -1, expected'),
    (dict(megapixels=0), 'megapixels: 0, expected'),
    (dict(password='x'), 'password: .*--answers'),
    (dict(answers='a.db', host='0.0.0.0'), '0.0.0.0 can be reached by others.*--password'),
    (dict(answers='a.db', host='0.0.0.0', password=''), 'no password; add --password'),
    (dict(answers='no/such/a.db'), 'a.db: expected a file in a folder that exists'),
    (dict(answers='.'), 'expected a file in a folder'),
    (dict(answers=HOPPER), 'grace_hopper.jpg: cannot hold the answers .*--answers'),
])
def test_bad_arguments(kwargs, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=says): serve(**{'port': 0, **kwargs})


def test_without_gradio(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    for f in (build_app, serve):
        with pytest.raises(ImportError, match=r"gradio not installed.*fer_nbdev\[app\]"): f()


# Feedback, by plain HTTP

TEXT = "<script>alert(1)</script> How'); DROP TABLE answers; --"


@pytest.fixture(scope='module')
def owner(tmp_path_factory):
    "A client who is logged in as the owner"
    folder = tmp_path_factory.mktemp('feedback')
    with serving(folder, answers='answers.db', password='secret words', per_minute=2000,
                 per_address=20) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        assert client.post('/owner/login', data={'password': 'secret words'}).status_code == 303
        yield client


def ask_question(owner, text):
    "The path of a new question"
    assert owner.post('/owner/questions', data={'text': text}).status_code == 303
    return re.search('/q/[0-9a-f]{12}', owner.get('/owner').text)[0]


@pytest.fixture
def question(owner): return ask_question(owner, TEXT)


@pytest.fixture
def visitor(owner):
    "`visitor()`: another client, without cookies"
    clients = []

    def _visitor():
        clients.append(httpx.Client(base_url=owner.base_url, timeout=60))
        return clients[-1]
    yield _visitor
    for c in clients: c.close()


def answers_of(owner, question):
    return owner.get(f'/owner/{question[3:]}.csv').text.splitlines()[1:]


def test_one_answer_a_visitor(owner, question, visitor):
    v, other = visitor(), visitor()
    assert 'value="happy"' in v.get(question).text and '<script>alert' not in v.get(question).text
    assert 'happy' in v.post(question, data={'emotion': 'happy'}).text
    assert v.post(question, data={'emotion': 'happy'}).status_code == 200 # sent again
    assert v.post(question, data={'emotion': 'sad'}).status_code == 409
    assert 'Thank you' in v.get(question).text
    other.get(question)
    assert other.post(question, data={'emotion': 'sad', 'way': 'camera'}).status_code == 200
    assert [a.split(',')[1:] for a in answers_of(owner, question)] == [
        ['happy', 'click'], ['sad', 'camera']]
    page = owner.get('/owner').text
    assert 'Answers: 2' in page and '50%' in page and '<script>alert' not in page
    assert '&lt;script&gt;' in page


REFUSED_ANSWERS = { # the form, the cookie (None: the one that we gave), status
    'SQL': ("emotion='; DROP TABLE answers; --", None, 400),
    'a smiley that is none of the five': ('emotion=disgust', None, 400),
    'html': ('emotion=<b>happy</b>', None, 400),
    'nothing': ('', None, 400),
    'no text at all': (b'\xff\xfe\x00', None, 400),
    'a very long form': ('emotion=happy&x='+'x'*20_000, None, 413),
    'no cookie': ('emotion=happy', '', 403),
    'a forged cookie': ('emotion=happy', 'a'*32+'.'+'b'*40, 403),
    'a cookie without a signature': ('emotion=happy', 'a'*32, 403),
    'a cookie of other letters': ('emotion=happy', '%C3%A9.%C3%A9', 403),
}


@pytest.mark.parametrize('case', REFUSED_ANSWERS)
def test_bad_answer(owner, question, visitor, case):
    form, cookie, status = REFUSED_ANSWERS[case]
    v = visitor()
    v.get(question)
    if cookie is not None:
        v.cookies.clear()
        if cookie: v.cookies.set('fer_visitor', cookie)
    before = len(owner.get('/owner').text)
    said = v.post(question, content=form)
    assert said.status_code == status and 'Traceback' not in said.text
    assert not answers_of(owner, question) and len(owner.get('/owner').text) == before


def test_a_signature_belongs_to_one_name(owner, question, visitor):
    "The cookie of one visitor under another name, and a visitor's cookie as the owner's"
    v = visitor()
    v.get(question)
    name, _, signature = v.cookies['fer_visitor'].partition('.')
    forged = visitor()
    forged.cookies.set('fer_visitor', f'{name[:-1]}x.{signature}')
    assert forged.post(question, data={'emotion': 'sad'}).status_code == 403
    forged.cookies.set('fer_owner', f'9999999999.{signature}')
    assert 'type="password"' in forged.get('/owner').text


def test_another_site_cannot_answer(owner, question, visitor):
    v = visitor()
    v.get(question)
    origin = {'origin': 'http://evil.example'}
    assert v.post(question, data={'emotion': 'sad'}, headers=origin).status_code == 403
    assert owner.post('/owner/questions', data={'text': 'x'}, headers=origin).status_code == 403
    assert not answers_of(owner, question)


def test_at_most_so_many_answers_from_an_address(owner, question, visitor):
    "Cookies deleted each time: 20 answers, as the server was told"
    got = []
    for _ in range(25):
        v = visitor()
        v.get(question)
        got.append(v.post(question, data={'emotion': 'happy'}).status_code)
    assert got == [200]*20+[429]*5 and len(answers_of(owner, question)) == 20


@pytest.mark.parametrize('path', [
    '/q/000000000000', '/q/..%2f..%2fetc%2fpasswd', '/owner/../../etc/passwd.csv',
    '/owner/..%2fanswers.db.csv', '/owner/000000000000.csv', '/feedback/..%2fcore.py',
    '/feedback/question.html', '/answers.db', '/file=answers.db', '/gradio_api/file=answers.db',
])
def test_no_path_leads_to_the_answers(owner, path):
    said = owner.get(path)
    assert said.status_code in (403, 404) and b'SQLite' not in said.content


def test_the_owners_pages_are_closed_to_others(owner, question, visitor):
    v = visitor()
    page = v.get('/owner').text
    assert 'type="password"' in page and question not in page
    assert v.get(f'/owner/{question[3:]}.csv').status_code == 403
    assert v.post('/owner/questions', data={'text': 'x'}).status_code == 403
    tries = [v.post('/owner/login', data={'password': f'{i}'}).status_code for i in range(12)]
    assert tries.count(403) <= 10 and tries[-1] == 429


@pytest.mark.parametrize('text', ['', '   ', 'x'*301])
def test_bad_question(owner, text):
    said = owner.post('/owner/questions', data={'text': text})
    assert said.status_code == 400 and 'expected 1 to 300' in said.text


def test_proposal_is_no_answer(owner, question, visitor):
    v = visitor()
    v.get(question)
    got = v.post(question+'/propose', content=HOPPER.read_bytes())
    assert got.json()['emotion'] in ('angry', 'happy', 'neutral', 'sad', 'surprise')
    blank = v.post(question+'/propose', content=jpg(np.full((90, 120, 3), 128, np.uint8)))
    assert blank.status_code == 400 and 'no face' in blank.json()['error']
    assert v.post(question+'/propose', content=b'<script>').status_code == 400
    assert not answers_of(owner, question)


def test_a_thousand_posts_from_one_address(tmp_path):
    "Of more than 60 a minute all are refused, and the page stays up. No password: only here"
    with serving(tmp_path, answers='answers.db') as (url, _):
        with httpx.Client(base_url=url, timeout=60) as client:
            question = ask_question(client, 'How was it?')
            client.get(question)
            start = time.perf_counter()
            got = [client.post(question, data={'emotion': 'x'}).status_code for _ in range(1000)]
            passed = 60+(time.perf_counter()-start)+1
            assert got.count(400) <= passed and got.count(400)+got.count(429) == 1000
            assert client.get(question).status_code == 200
            assert client.get('/owner', headers={'host': 'evil.example'}).status_code == 403


def test_answers_of_another_program_are_left_alone(tmp_path):
    import sqlite3
    with sqlite3.connect(tmp_path/'a.db') as con: con.execute('CREATE TABLE t (x)')
    before = (tmp_path/'a.db').read_bytes()
    with pytest.raises(ValueError, match='a.db: cannot hold .*another program.*--answers'):
        serve(port=0, answers=tmp_path/'a.db')
    assert (tmp_path/'a.db').read_bytes() == before


@pytest.fixture(scope='module')
def load(root):
    sys.path.insert(0, str(root/'benchmarks'))
    import app_load
    sys.path.remove(str(root/'benchmarks'))
    return app_load


def test_no_answer_is_lost_or_doubled_when_the_server_is_killed(load):
    got = load.answer_load(100, 50)
    assert got['sent'] == got['stored'] == got['visitors'] == 100
    assert got['same_smileys'] and got['starts'] == 2


def test_fifty_clients(load, measured):
    got = load.photo_load(50, 5)
    measured('50 clients, a photo each', f"{got['median_ms']:.0f} ms, {got['p99_ms']:.0f} at p99")
    assert got['answers'] >= 50 and not got['errors']


# A folder for Spaces

def test_space(tmp_path):
    folder = write_space(tmp_path/'new/space', 'nano')
    text = {f.name: f.read_text() for f in folder.iterdir()}
    assert set(text) == {'README.md', 'requirements.txt', 'app.py'}
    assert 'sdk: gradio' in text['README.md'] and NOTICE in text['README.md']
    wanted = text['requirements.txt']
    assert re.fullmatch(r'fer_nbdev\[app\] @ git\+https://\S+@v[\d.]+\n', wanted)
    compile(text['app.py'], 'app.py', 'exec')
    (folder/'app.py').write_text('mine')
    with pytest.raises(FileExistsError, match='app.py|README.md'): write_space(folder)
    assert (folder/'app.py').read_text() == 'mine'
    write_space(folder, overwrite=True)
    assert 'serve(' in (folder/'app.py').read_text()
    with pytest.raises(ValueError, match="model: 'smal', expected one of"):
        write_space(tmp_path/'other', 'smal')


# In Chromium

@pytest.fixture(scope='module')
def camera(tmp_path_factory):
    "A clip for the fake camera: Grace Hopper, moving"
    im = cv2.resize(cv2.imread(str(HOPPER)), (410, 480))
    wide = cv2.copyMakeBorder(im, 0, 0, 160, 160, cv2.BORDER_REPLICATE)
    steps = (45+40*np.sin(np.arange(60)/60*2*np.pi)).astype(int)
    clip = tmp_path_factory.mktemp('camera')/'cam.mjpeg'
    clip.write_bytes(b''.join(jpg(wide[:, x:x+640]) for x in steps))
    return clip


@pytest.fixture
def visit(need, camera):
    """`with visit(url, width=1200, scheme='light', clip=...) as page`. At its end no request has
    left the server, and no error stands in the console"""
    path = need('chromium', 'apt-get install chromium')
    from playwright.sync_api import sync_playwright

    @contextmanager
    def _visit(url, width=1200, scheme='light', clip=camera, expected='^$'):
        flags = [*FLAGS, f'--use-file-for-fake-video-capture={clip}']
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=path, args=flags)
            size = dict(width=width, height=850)
            context = browser.new_context(viewport=size, color_scheme=scheme,
                                          permissions=['camera'])
            page = context.new_page()
            page.set_default_timeout(60_000)
            outside, errors = [], []
            server = re.match('http://[^/]+/', url)[0]
            ours = (server, server.replace('http', 'ws'), 'data:', 'blob:')
            page.on('request', lambda r: r.url.startswith(ours) or outside.append(r.url))
            def console(m):
                if m.type == 'error' and not re.search(expected, m.text): errors.append(m.text)
            page.on('console', console)
            page.on('pageerror', lambda e: errors.append(str(e)))
            page.goto(url, wait_until='domcontentloaded')
            try: yield page
            finally: browser.close()
            assert not outside and not errors
    return _visit


def open_live(page):
    page.get_by_role('tab', name='Live').click()
    page.locator('#camera').get_by_text('Click to Access Webcam').click()
    page.locator('#camera button', has_text='Record').click()
    page.wait_for_selector('#live img[src^="data:image/jpeg"]')


COUNT = """() => {
  window.frames_seen = 0;
  new MutationObserver(() => window.frames_seen++).observe(document.querySelector('#live'),
    {subtree: true, attributes: true, attributeFilter: ['src']});
}"""


def test_photo_to_emoji(visit, server):
    with visit(server) as page:
        page.wait_for_selector('h1')
        assert NOTICE in page.inner_text('body')
        page.set_input_files('#photo input[type=file]', HOPPER)
        page.wait_for_selector('#answer .fer-smiley')
        said = page.inner_text('#answer [role=status]')
        p, = load_predictor().predict(HOPPER)
        assert said == f'1 face: {p.emotion} {p.probability:.0%}.'
        assert page.locator('#answer .fer-panel:visible .fer-row').count() == 7
        for img in page.locator('#answer img').all():
            assert img.evaluate('i => i.complete && i.naturalWidth') > 50


DROP = """data => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), given = new DataTransfer()
  given.items.add(new File([bytes], 'given.jpg', {type: 'image/jpeg'}))
  const event = new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: given})
  document.querySelector('#photo button.upload-container').dispatchEvent(event)
}"""
COPY = """async data => {
  const photo = await (await fetch('data:image/png;base64,'+data)).blob()
  await navigator.clipboard.write([new ClipboardItem({'image/png': photo})])
}"""


def test_a_photo_is_dropped_taken_and_pasted(visit, server):
    data, png = HOPPER.read_bytes(), encoded(Image.open(HOPPER))
    with visit(server) as page:
        page.wait_for_selector('#photo button.upload-container')
        page.wait_for_timeout(2000) # gradio draws its page twice
        page.evaluate(DROP, base64.b64encode(data).decode())
        page.wait_for_selector('#answer .fer-smiley')
        page.click('#photo [aria-label="Remove Image"]')
        page.wait_for_selector('#answer .fer-smiley', state='detached')
        page.click('#photo [aria-label="Capture from camera"]')
        page.locator('#photo').get_by_text('Click to Access Webcam').click()
        page.wait_for_selector('#photo [aria-label="capture photo"]')
        page.wait_for_timeout(1000) # the camera's first picture
        page.click('#photo [aria-label="capture photo"]')
        page.wait_for_selector('#answer .fer-smiley')
        page.click('#photo [aria-label="Remove Image"]')
        page.wait_for_selector('#answer .fer-smiley', state='detached')
        page.context.grant_permissions(['camera', 'clipboard-read', 'clipboard-write'])
        page.evaluate(COPY, base64.b64encode(png).decode())
        page.click('#photo [aria-label="Paste from clipboard"]')
        page.wait_for_selector('#answer .fer-smiley')


def test_wrong_file_is_one_sentence_on_the_page(visit, server, tmp_path):
    (tmp_path/'<img src=x onerror=alert(1)>.jpg').write_text('<b>no picture</b>')
    with visit(server) as page:
        page.set_input_files('#photo input[type=file]', next(tmp_path.iterdir()))
        page.get_by_text('not a picture that this page reads').first.wait_for()
        assert not page.locator('img[src=x]').count()


def test_live_frames_flow_without_files(visit, tmp_path, measured):
    with serving(tmp_path) as (server, _), visit(server) as page:
        open_live(page)
        page.wait_for_timeout(2000)
        page.evaluate(COUNT)
        start = time.perf_counter()
        page.wait_for_timeout(5000)
        n = page.evaluate('window.frames_seen')
        measured('live page', f'{n/(time.perf_counter()-start):.1f} frames a second')
        assert n >= 5 and not files_in(tmp_path)


SLOW = """
def slow(self, frame):
    time.sleep(.5)
    return a._data_url(frame)
a._Service.as_frame = slow"""
GREY = """s => {
  const c = document.createElement('canvas').getContext('2d');
  c.drawImage(document.querySelector(s), 0, 0, 9, 9);
  return c.getImageData(4, 4, 1, 1).data[0];
}"""


def test_the_latest_frame_wins(visit, tmp_path):
    "Half a second a frame, six seconds long: what is shown is two seconds old at most"
    clip = tmp_path/'grey.mjpeg' # one grey a thirtieth of a second, for ten seconds
    greys = [np.full((480, 640), 10+.8*i, np.uint8) for i in range(300)]
    clip.write_bytes(b''.join(map(jpg, greys)))
    with serving(tmp_path, SLOW) as (server, _), visit(server, clip=clip) as page:
        open_live(page)
        page.wait_for_timeout(6000)
        ages = []
        for _ in range(4):
            now, shown = page.evaluate(GREY, '#camera video'), page.evaluate(GREY, '#live img')
            ages.append(((now-shown)/.8/30+5) % 10-5)
            page.wait_for_timeout(400)
        assert np.median(ages) < 2.5, ages


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_fits_a_phone(visit, server, scheme):
    with visit(server, width=390, scheme=scheme) as page:
        page.set_input_files('#photo input[type=file]', HOPPER)
        page.wait_for_selector('#answer .fer-smiley')
        for tab in ('Photo', 'Live', 'Video', 'Feedback'):
            page.get_by_role('tab', name=tab).click()
            wide = page.evaluate('document.documentElement.scrollWidth')
            assert wide <= 390, f'{tab}: {wide} pixels wide'


def tab_to(page, selector, most=40):
    "Press Tab until the focus is there"
    for _ in range(most):
        page.keyboard.press('Tab')
        if page.evaluate('s => document.activeElement.matches(s)', selector): return
    raise AssertionError(f'{selector} cannot be reached with Tab')


def choose_by_keyboard(page, most=6):
    "Enter on the upload button; again if no chooser opens: a busy machine may still be drawing"
    choosers = []
    page.on('filechooser', lambda c: choosers.append(c)) # also one that opens late
    for _ in range(most):
        tab_to(page, '#photo button.upload-container')
        page.keyboard.press('Enter')
        for _ in range(50):
            if choosers: return choosers[0]
            page.wait_for_timeout(200)
    raise AssertionError(f'no file chooser after {most} times Enter')


def test_by_keyboard_alone(visit, server, tmp_path):
    "A photo of two faces is chosen and explained, then the camera started"
    im = cv2.imread(str(HOPPER))
    (tmp_path/'two.jpg').write_bytes(jpg(np.concatenate([im, im[:, ::-1]], 1)))
    with visit(server) as page:
        page.wait_for_selector('#photo input[type=file]', state='attached')
        page.wait_for_timeout(2000) # gradio draws its page twice
        choose_by_keyboard(page).set_files(tmp_path/'two.jpg')
        page.wait_for_selector('#answer .fer-smiley')
        tab_to(page, '#answer input[type=radio]')
        first = page.inner_text('#answer .fer-panel:visible')
        page.keyboard.press('ArrowRight')
        assert page.inner_text('#answer .fer-panel:visible') != first
        assert page.locator('#answer .fer-panel:visible').count() == 1
        tab_to(page, '[role=tab][aria-selected=false]')
        page.keyboard.press('Enter')
        for _ in range(2): # open the camera, then start
            tab_to(page, '#camera button')
            page.keyboard.press('Enter')
            page.wait_for_selector('#camera button:has-text("Record"), #camera :text("Stop")')
        page.wait_for_selector('#live img[src^="data:image/jpeg"]')


def test_from_visitor_to_dashboard(visit, tmp_path):
    "The owner asks; one visitor clicks, another one lets the camera propose and confirms"
    with serving(tmp_path, answers='answers.db', password='secret') as (url, _):
        with visit(url+'owner') as page:
            page.fill('[name=password]', 'secret')
            page.keyboard.press('Enter')
            page.fill('[name=text]', TEXT)
            page.keyboard.press('Enter')
            link = page.locator('section a').first.get_attribute('href')
            assert page.locator('h2').inner_text() == TEXT
            page.goto(link)
            assert NOTICE in page.inner_text('body') and page.locator('#video').is_hidden()
            tab_to(page, 'button[value=happy]')
            page.keyboard.press('Enter')
            page.get_by_text('Thank you').wait_for()
            page.goto(url+'owner')
            assert 'Answers: 1' in page.inner_text('section')
            page.set_viewport_size(dict(width=390, height=850))
            assert page.evaluate('document.documentElement.scrollWidth') <= 390
        with visit(link, width=390) as page:
            assert page.evaluate('document.documentElement.scrollWidth') <= 390
            page.click('#open')
            page.click('#propose')
            page.get_by_text('has not been sent yet').wait_for()
            assert stored(tmp_path) == 1
            page.click('#proposed')
            page.get_by_text('Thank you').wait_for()
            assert stored(tmp_path) == 2 and not files_in_private(tmp_path)


def stored(folder):
    import sqlite3
    with sqlite3.connect(folder/'answers.db') as con:
        return con.execute('SELECT count(*) FROM answers').fetchone()[0]


def files_in_private(folder): return [f for p in folder.glob('fer_app_*') for f in files_in(p)]


@pytest.fixture
def clip(tmp_path):
    "A second of Grace Hopper, moving"
    im, path = cv2.imread(str(HOPPER)), tmp_path/'clip <b>.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10, (320, 320))
    for i in range(10): writer.write(np.ascontiguousarray(im[60:380, 60+4*i:380+4*i]))
    writer.release()
    return path


def test_video(visit, clip, tmp_path, need):
    "Uploaded, answered, played in the page; its files are gone"
    need('ffmpeg', 'only H.264 plays in the page')
    (tmp_path/'server').mkdir()
    with serving(tmp_path/'server', 'a._KEEP, a._LOOK = 8, .5') as (url, _), visit(url) as page:
        page.get_by_role('tab', name='Video').click()
        page.set_input_files('#video input[type=file]', clip)
        page.wait_for_selector('#annotated video')
        assert 'Faces followed: 1' in page.inner_text('#annotated')
        play = """async () => {
          const v = document.querySelector('#annotated video');
          v.muted = true;
          await v.play();
          return [v.videoWidth, v.duration];
        }"""
        width, seconds = page.evaluate(play)
        assert width == 320 and abs(seconds-1) < .3
        assert page.locator('.fer-timeline').evaluate('i => i.naturalWidth') > 300
        with page.expect_download() as download: page.click('#annotated a[download]')
        table = Path(download.value.path()).read_text().splitlines()
        assert len(table) == 11 and table[0].startswith('frame,time')
        assert not list((tmp_path/'server').rglob('job_*'))
        page.wait_for_timeout(10_000)
        assert not files_in_private(tmp_path/'server')


def large_frames(path):
    "A video of one frame of 16 million pixels, in less than a megabyte"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (4000, 4000))
    writer.write(np.zeros((4000, 4000, 3), np.uint8))
    writer.release()


VIDEOS = { # what is uploaded, what the page says
    'text.mp4': (lambda path: path.write_text('no video'), 'no picture that OpenCV can read'),
    'large.mp4': (lambda path: path.write_bytes(bytes(2_100_000)), 'maximum allowed size'),
    'frames.avi': (large_frames, 'frames of 4000x4000, more than 9 million pixels'),
}


@pytest.mark.parametrize('name', VIDEOS)
def test_a_bad_video_is_one_sentence(visit, server, tmp_path, name):
    make, says = VIDEOS[name]
    make(tmp_path/name)
    with visit(server, expected='413' if name == 'large.mp4' else '^$') as page:
        page.get_by_role('tab', name='Video').click()
        page.set_input_files('#video input[type=file]', tmp_path/name)
        page.get_by_text(says).first.wait_for()
        assert 'fer_app_' not in page.inner_text('body')
