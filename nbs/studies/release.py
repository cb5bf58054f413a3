"""Turn finished runs into the packaged files: `python nbs/studies/release.py small nano`

The strength `tau` of the logit adjustment (Menon et al. 2021, section 4.1) is chosen on `valid` and becomes part of the head's bias, so that
a rare class is not the last to be named. Then all logits are divided by the `temperature` with the lowest log loss on `valid` (Guo et al.
2017), which changes no answer, only how sure it sounds; the head's weights take it up. The half-precision weights go to `fer_nbdev/weights/`, the same weights as ONNX with parity
checked, and what the file gets on `valid` to `results/<name>_release.json`. Nothing here sees `test`.
"""
import json, sys
from pathlib import Path

import fer_nbdev
import numpy as np
import torch
from fer_nbdev.data import load_fer
from fer_nbdev.evaluate import classification_metrics, metrics_table
from fer_nbdev.export import export_onnx
from fer_nbdev.models import create_model, load_weights, save_weights
from fer_nbdev.predict import load_predictor
from fer_nbdev.quality import clean_split
from fer_nbdev.train import predict_faces
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

HERE,WEIGHTS = Path(__file__).parent,Path(fer_nbdev.__file__).parent/'weights'
TAUS = (0,.1,.2,.3,.4,.5)

def adjusted(y_prob, prior, tau):
    p = y_prob*prior**-tau
    return p/p.sum(1, keepdims=True)

def choose_tau(y_true, y_prob, prior):
    "The `tau` with the best mean of accuracy and macro-F1"
    def score(tau):
        m = classification_metrics(y_true, adjusted(y_prob, prior, tau))
        return m['accuracy']+m['macro_f1']
    return max(TAUS, key=score)

def tempered(y_prob, temperature):
    p = y_prob**(1/temperature)
    return p/p.sum(1, keepdims=True)

def choose_temperature(y_true, y_prob):
    "The temperature with the lowest log loss, to two decimals"
    return round(float(minimize_scalar(lambda t: log_loss(y_true, tempered(y_prob, t)), bounds=(.25,4), method='bounded').x), 2)

def release(name, train, valid):
    model = create_model(name)
    meta = load_weights(model, HERE/'runs'/name/'model.safetensors')
    prior,y_prob = train.counts/len(train),predict_faces(model, valid.images)
    tau = choose_tau(valid.labels, y_prob, prior)
    temperature = choose_temperature(valid.labels, adjusted(y_prob, prior, tau))
    with torch.no_grad():
        model.head.bias -= tau*torch.as_tensor(np.log(prior), dtype=torch.float32)
        for p in model.head.parameters(): p /= temperature
    save_weights(model, WEIGHTS/f'{name}.safetensors', name, meta['classes'].split(','), **{k:v for k,v in meta.items() if k not in ('name','classes')}, tau=tau, temperature=temperature)
    load_weights(model, WEIGHTS/f'{name}.safetensors') # what half precision left of them
    print(name, f'tau {tau}, temperature {temperature}', export_onnx(model, WEIGHTS/f'{name}.onnx', meta['classes'].split(','), name))
    table = metrics_table(valid.labels, load_predictor(name).predict_proba(valid.images))
    out = dict(name=name, split='valid', n=len(valid), tau=tau, tried=TAUS, temperature=temperature, command=f'python nbs/studies/release.py {name}',
               metrics={k: dict(value=float(r.value), low=float(r.low), high=float(r.high)) for k,r in table.iterrows()})
    (HERE/'results'/f'{name}_release.json').write_text(json.dumps(out, indent=1)+'\n')
    print(table)

if __name__=='__main__':
    faces = load_fer()
    if faces.name!='FER-2013': raise SystemExit("FER2013_PATH does not lead to all of FER-2013: tau is chosen on real FER-2013")
    faces = clean_split(faces)
    train = faces.subset('train')
    train = train[~train.info.blurred.to_numpy(bool)] # the faces that were learnt from
    WEIGHTS.mkdir(exist_ok=True)
    for name in sys.argv[1:]: release(name, train, faces.subset('valid'))
