"""The web page under load: 50 clients on the photo endpoint, and 1,000 answers while it is killed

    python benchmarks/app_load.py              60 seconds of photos, 1,000 answers
    python benchmarks/app_load.py --seconds 5 --answers 100

The clients run on the same machine as the server and take their share of it.
"""
import argparse, asyncio, os, re, signal, socket, sqlite3, subprocess, sys, tempfile, time
from collections import Counter
from pathlib import Path
import httpx
import matplotlib.cbook as cbook
import numpy as np
from fer_nbdev.core import FIVE

PHOTO = Path(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)).read_bytes()


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def start_server(folder, **kwargs):
    "(process, address) of a server whose files are in `folder`"
    code = f'from fer_nbdev.app import serve; serve(**{kwargs!r})'
    p = subprocess.Popen([sys.executable, '-c', code], cwd=folder, text=True,
                         env={**os.environ, 'TMPDIR': str(folder)}, stdout=subprocess.PIPE)
    for line in p.stdout:
        if found := re.search(r'http://\S+/', line): return p, found[0]
    raise RuntimeError('the server did not start')


def megabytes(pid):
    "Resident memory of a process"
    return int(re.search(r'VmRSS:\s+(\d+)', Path(f'/proc/{pid}/status').read_text())[1])/1e3


async def post_photos(url, clients, seconds):
    "(milliseconds of each answer, errors)"
    times, errors, stop = [], Counter(), time.perf_counter()+seconds

    async def one(client):
        while (start := time.perf_counter()) < stop:
            try:
                answer = await client.post('/api/predict', content=PHOTO)
                if answer.status_code != 200: errors[answer.status_code] += 1
            except httpx.HTTPError as e: errors[type(e).__name__] += 1
            times.append(1e3*(time.perf_counter()-start))

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        await asyncio.gather(*(one(client) for _ in range(clients)))
    return times, errors


def photo_load(clients=50, seconds=60.):
    "Answers, errors, latency, and memory before and after; ten seconds of load come first"
    with tempfile.TemporaryDirectory() as folder:
        p, url = start_server(folder, port=0)
        try:
            asyncio.run(post_photos(url, clients, min(10, seconds)))
            before = megabytes(p.pid)
            times, errors = asyncio.run(post_photos(url, clients, seconds))
            after = megabytes(p.pid)
        finally:
            p.terminate()
            p.wait()
    median, late = np.percentile(times, (50, 99))
    return dict(answers=len(times), errors=dict(errors), per_second=len(times)/seconds,
                median_ms=median, p99_ms=late, mb_before=before, mb_after=after)


async def answer_once(url, question, emotion):
    "One visitor, who tries again until the answer is confirmed"
    async with httpx.AsyncClient(base_url=url, timeout=30) as visitor:
        for _ in range(600):
            try:
                if not visitor.cookies: await visitor.get(f'/q/{question}')
                said = await visitor.post(f'/q/{question}', data={'emotion': emotion})
                if said.status_code == 200: return
            except httpx.HTTPError: pass
            await asyncio.sleep(.1)
    raise RuntimeError('never confirmed')


async def post_answers(url, question, n, clients, middle):
    "`n` visitors, at most `clients` at once; `middle` is called when half of them are done"
    todo, done = list(enumerate(np.random.default_rng(0).choice(FIVE, n))), []

    async def one():
        while todo:
            i, emotion = todo.pop()
            await answer_once(url, question, str(emotion))
            done.append(emotion)
            if len(done) == n//2: await asyncio.to_thread(middle)

    await asyncio.gather(*(one() for _ in range(clients)))
    return Counter(map(str, done))


def answer_load(n=1000, clients=50):
    "Rows sent and stored, with the server killed (SIGKILL) and started again in the middle"
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder)/'answers.db'
        how = dict(port=free_port(), answers=str(db), per_minute=1e9, per_address=10**9)
        servers = [start_server(folder, **how)]
        url = servers[0][1]

        def restart():
            servers[-1][0].send_signal(signal.SIGKILL)
            servers[-1][0].wait()
            servers.append(start_server(folder, **how))

        try:
            httpx.post(f'{url}owner/questions', data={'text': 'How was it?'}, timeout=60)
            with sqlite3.connect(db) as con: question, = con.execute('SELECT id FROM questions')
            start = time.perf_counter()
            sent = asyncio.run(post_answers(url, question[0], n, clients, restart))
            seconds = time.perf_counter()-start
            with sqlite3.connect(db) as con:
                rows = con.execute('SELECT emotion, visitor FROM answers').fetchall()
        finally:
            for p, _ in servers:
                p.kill()
                p.wait()
    return dict(sent=n, stored=len(rows), visitors=len({v for _, v in rows}),
                same_smileys=Counter(e for e, _ in rows) == sent, starts=len(servers),
                seconds=seconds)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument('--seconds', type=float, default=60)
    args.add_argument('--answers', type=int, default=1000)
    args.add_argument('--clients', type=int, default=50)
    args = args.parse_args()
    tables = {'photos': photo_load(args.clients, args.seconds),
              'answers': answer_load(args.answers, args.clients)}
    for name, table in tables.items():
        print(f'{name}, {args.clients} clients')
        for k, v in table.items(): print(f'  {k:14}{v:>14.1f}' if isinstance(v, float) else
                                         f'  {k:14}{v!s:>14}')


if __name__ == '__main__': main()
