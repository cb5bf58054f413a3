"The benchmark beside the package `fer`, with a stand-in for its environment"
import json, os, subprocess, sys

def bench(root, *args, **env):
    env = {k: v for k,v in os.environ.items() if k not in ('FER_PYTHON','FER2013_PATH')} | env
    command = [sys.executable, str(root/'benchmarks/beside_fer.py'), *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)

def test_without_its_environment_it_says_what_to_do(root):
    r = bench(root)
    assert r.returncode==0 and 'left out: FER_PYTHON is not set' in r.stdout
    r = bench(root, FER_PYTHON=sys.executable) # ours has no tensorflow
    assert r.returncode==1 and 'FER_PYTHON has no working fer==25.10.3' in r.stderr
    assert 'Traceback' not in r.stderr
    r = bench(root, FER_PYTHON='/nowhere/python')
    assert r.returncode==1 and r.stderr.startswith('FER_PYTHON: /nowhere/python: No such file')

def test_table_and_json(root, tmp_path):
    "A stand-in that needs 2 ms a face: ratios and file"
    python = tmp_path/'python'
    python.write_text(f"#!{sys.executable}\nwhile True:\n    input()\n    print(2.0, flush=True)\n")
    python.chmod(0o755)
    r = bench(root, '--json', str(tmp_path/'b.json'), FER_PYTHON=str(python))
    assert r.returncode==0, r.stderr
    d = json.loads((tmp_path/'b.json').read_text())
    rows = {row['name']: row for row in d['rows']}
    assert {'fer','nano','small'}<=rows.keys() and rows['fer']['ratio_to_fer']=={'1': 1., '64': 1.}
    for row in rows.values():
        for n,ratio in row['ratio_to_fer'].items(): assert abs(ratio-row['ms'][n]/2)<.2*ratio
    final = json.loads((root/'studies/results/final.json').read_text())
    scored = {f['name']: f['metrics'] for f in final if f['split']=='PrivateTest'}
    assert rows['nano']['metrics']==scored['nano'] # ours are read, not computed
    alone = next(f for f in final if f['name']=='nano, leak-free')
    assert rows['nano']['leak_free']==dict(n=alone['n'], metrics=alone['metrics'])
    assert 'nano' in r.stdout and 'metrics' not in rows['fer'] # no data, no score
