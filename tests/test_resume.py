"A run that is killed in mid-epoch and started again ends with the weights of one that was not"
import signal
import subprocess
import sys

import pandas as pd
import pytest

pytest.importorskip('torch')
pytestmark = pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='no SIGKILL on this system')

SCRIPT = '''
import sys, time, torch
from fastai.callback.core import Callback
from fer_nbdev.synthetic import synthetic_faces
from fer_nbdev.loaders import AUGMENT
from fer_nbdev.runs import fit_recipe
torch.set_num_threads(2)

class Signal(Callback):
    "Says where the run is, and waits there, so that the test can kill it in mid-epoch"
    order = 200
    def after_batch(self):
        if not self.training or len(sys.argv)<3: return
        if self.epoch==int(sys.argv[2]) and self.iter==3:
            print('mid-epoch', flush=True)
            time.sleep(60)

faces = synthetic_faces(500, random_state=0)
learn = fit_recipe(faces[faces.split!='test'], 'nano', sys.argv[1], epochs=4, bs=64, seed=3,
                   balance_power=.5, augment=AUGMENT, cbs=[Signal()])
'''

def test_sigkill_in_mid_epoch(tmp_path):
    import torch
    from fer_nbdev.runs import _locked
    script = tmp_path/'run.py'
    script.write_text(SCRIPT)
    def start(*args):
        return subprocess.Popen([sys.executable, str(script), *map(str,args)], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for epoch in (1,2): # killed once, and once more after it went on
        killed = start(tmp_path/'cut', epoch)
        for line in killed.stdout:
            if 'mid-epoch' in line: break
        else: pytest.fail('the run ended before it could be killed')
        assert (tmp_path/'cut/checkpoint.pt').exists()
        assert not (tmp_path/'cut/model.safetensors').exists()
        assert pd.read_csv(tmp_path/'cut/history.csv').epoch.tolist()==list(range(epoch))
        with pytest.raises(RuntimeError, match=f'process {killed.pid} on .* is training here'):
            with _locked(tmp_path/'cut'): pass
        # what a kill while writing leaves behind
        (tmp_path/'cut/checkpoint.pt.part').write_bytes(b'half a checkpoint')
        killed.kill()
        assert killed.wait()==-signal.SIGKILL and (tmp_path/'cut/lock').exists()
    for name in ('cut','whole'):
        p = start(tmp_path/name)
        out = p.communicate(timeout=600)[0]
        assert p.returncode==0, out[-3000:]
    assert not (tmp_path/'cut/lock').exists()
    a,b = ((tmp_path/n/'model.safetensors').read_bytes() for n in ('whole','cut'))
    assert a==b
    a,b = (torch.load(tmp_path/n/'checkpoint.pt', weights_only=True) for n in ('whole','cut'))
    for one,other in ((a['model'], b['model']), (a['callbacks']['ema'], b['callbacks']['ema'])):
        assert all(torch.equal(one[k], other[k]) for k in one) # in full precision
    logs = [pd.read_csv(tmp_path/n/'history.csv') for n in ('whole','cut')]
    assert logs[1].epoch.tolist()==[0,1,2,3] # one header, each epoch once
    pd.testing.assert_frame_equal(*(l.drop(columns='time') for l in logs))
