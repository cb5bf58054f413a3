"`make` says what there is, every target can be asked what it would do, and a relative FER2013_PATH becomes absolute"
import os, re, subprocess

ENV = {k: v for k,v in os.environ.items() if k not in ('FER2013_PATH', 'MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')}


def test_targets(need, root, tmp_path):
    def make(*args, **env):
        r = subprocess.run([need('make', 'apt-get install make'), *args], cwd=root, capture_output=True, text=True, timeout=60, env={**ENV, **env})
        assert r.returncode == 0, r.stdout + r.stderr
        return r.stdout
    makefile = (root/'Makefile').read_text(encoding='utf-8')
    targets = re.search(r'^\.PHONY: (.+)', makefile, re.M)[1].split()
    listed = re.findall(r'^  make (\S+) +\S', make(), re.M)
    assert sorted(listed) == sorted(targets) == sorted(re.findall(r'^([a-z]+):', makefile, re.M))
    for t in targets: assert make('-n', t).strip(), t

    (tmp_path/'Makefile').write_text('include ' + str(root/'Makefile') + '\nwhere:\n\t@$(absolute) echo "<$$FER2013_PATH>"\n')
    def where(path): return re.search('<(.*)>', make('-s', '-C', str(tmp_path), 'where', FER2013_PATH=path))[1]
    assert where('data/fer 2013') == f'{tmp_path}/data/fer 2013'
    assert where('/data/fer2013') == '/data/fer2013'
    assert where('') == ''
    for t in ('walkthrough', 'lab', 'outputs'): assert 'export FER2013_PATH="' in make('-n', t), t
