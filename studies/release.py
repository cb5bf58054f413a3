"""Turn finished runs into packaged files: `python studies/release.py small=small_s1 nano=nano_s0`

Two numbers are set after training, by cross-validation on the training split alone:
`fold_models.py` gives probabilities for training faces by networks that did not see them.
- `tau`, the strength of the logit adjustment (Menon et al. 2021, section 4.1), moves the head's
  bias so that rare classes are answered more often. By the one-standard-error rule it is the
  smallest one whose score (accuracy plus macro-F1) lies within one standard error of the best, so
  that there is no shift unless it is clearly better.
- All logits are divided by the `temperature` with the lowest log loss (Guo et al. 2017), or by 1 if
  that is not better by more than a standard error. It changes no answer.
The half-precision weights go to `fer_nbdev/weights/`, the same weights as ONNX, and for
`small` and `nano` a copy of that with 8 bits, calibrated on training faces. What a file gets on
`valid` goes to `results/<name>_release.json`. Nothing here sees `test`.
"""
import json, sys
from pathlib import Path

import fer_nbdev
import numpy as np
import torch
from common import HERE, RESULTS, real_faces, write_json
from fer_nbdev.evaluate import _influences, classification_metrics, _metrics_record
from fer_nbdev.export import _describe, export_onnx, quantize_onnx
from fer_nbdev.models import create_model, load_weights, save_weights
from fer_nbdev.predict import load_predictor
from fer_nbdev.quality import clean_split
from fold_models import FOLDER, read_folds
from ledger import signed
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from train_models import FOLDER as RUNS

WEIGHTS = Path(fer_nbdev.__file__).parent/'weights'
TAUS = (0,.1,.2,.3,.4,.5)
N_CALIBRATION,EIGHT_BITS = 512,('small','nano')
ACCURACY,MACRO_F1 = 0,2 # columns of `_influences`


def adjusted(y_prob, prior, tau):
    p = y_prob*prior**-tau
    return p/p.sum(1, keepdims=True)


def tempered(y_prob, temperature):
    p = y_prob**(1/temperature)
    return p/p.sum(1, keepdims=True)


def standard_error(y_true, per_face):
    "Of the sum of `per_face` over faces, when each class keeps its number of faces"
    groups = [per_face[y_true==c] for c in np.unique(y_true)]
    return float(np.sqrt(sum(len(g)*g.var() for g in groups)))


def score(y_true, y_prob):
    "Accuracy plus macro-F1, and its standard error over faces"
    m,influence = classification_metrics(y_true, y_prob),_influences(y_true, y_prob)
    error = standard_error(y_true, influence[:,ACCURACY]+influence[:,MACRO_F1])
    return m['accuracy']+m['macro_f1'],error


def choose_tau(y_true, y_prob, prior, taus=TAUS):
    "The smallest `tau` within one standard error of the best, and what each one got"
    y_prob = np.asarray(y_prob, float)
    tried = {tau:score(y_true, adjusted(y_prob, prior, tau)) for tau in taus}
    best,error = max(tried.values())
    tau = min(t for t,(value,_) in tried.items() if value>=best-error)
    return tau,[dict(tau=t, score=round(v,5), error=round(e,5)) for t,(v,e) in tried.items()]


def choose_temperature(y_true, y_prob):
    "The temperature with the lowest log loss, to two decimals; 1 if that is not clearly lower"
    y_prob = np.asarray(y_prob, float).clip(1e-12)
    def loss(t): return log_loss(y_true, tempered(y_prob, t), labels=range(y_prob.shape[1]))
    best = round(float(minimize_scalar(loss, bounds=(.25,4), method='bounded').x), 2)
    i = np.arange(len(y_true))
    gain = np.log(tempered(y_prob, best)[i,y_true])-np.log(tempered(y_prob, 1)[i,y_true])
    return best if gain.mean()>gain.std()/np.sqrt(len(gain)) else 1.


def cross_validated_choice(y_true, y_prob, prior):
    "`tau`, `temperature` and a record of the choice, from probabilities out of fold"
    tau,tried = choose_tau(y_true, y_prob, prior)
    return dict(tau=tau, temperature=choose_temperature(y_true, adjusted(y_prob, prior, tau)),
                tried=tried, chosen_on='train, out of fold', n_chosen_on=len(y_true))


def released(model, choice, prior):
    "`model` with the choice made part of its head"
    with torch.no_grad():
        model.head.bias -= choice['tau']*torch.as_tensor(np.log(prior), dtype=torch.float32)
        for p in model.head.parameters(): p /= choice['temperature']
    return model


def write_record(name, run, valid, **more):
    "What the released file gets on `valid`, as json; its metrics in a line of text"
    y_prob = load_predictor(WEIGHTS/f'{name}.onnx').predict_proba(valid.images)
    out = dict(name=name, run=run, split='valid', n=len(valid), **more,
               command=f"python {HERE.name}/release.py {name.removesuffix('-int8')}={run}",
               metrics=_metrics_record(valid.labels, y_prob))
    write_json(RESULTS/f'{name}_release.json', signed(out))
    print(json.dumps(out['metrics'], indent=1))
    shown = ('accuracy','balanced_accuracy','macro_f1')
    said = ', '.join(f"{k} {out['metrics'][k]['value']:.4f}" for k in shown)
    return f'PublicTest, chosen there: {said}'


def release_int8(name, run, train, valid):
    "The 8-bit copy of a released file, calibrated on training faces that chance picks"
    small,path = f'{name}-int8',WEIGHTS/f'{name}-int8.onnx'
    some = np.random.default_rng(0).permutation(len(train))[:N_CALIBRATION]
    quantize_onnx(WEIGHTS/f'{name}.onnx', path, train.images[some])
    answers = [load_predictor(p).predict_proba(valid.images).argmax(1)
               for p in (path, WEIGHTS/f'{name}.onnx')]
    metrics = write_record(small, run, valid, calibrated_on=f'{len(some)} faces of train',
                           agreement=float(np.mean(answers[0]==answers[1])))
    _describe(path, path, metrics=metrics)


def recipes(run):
    "The recipe of a run, after the one of the run that it began with"
    r = json.loads((RUNS/run/'result.json').read_text())
    return (recipes(r['start']) if r.get('start') else [])+[r['record']['recipe']]

def release(name, run, train, valid):
    model = create_model(name)
    meta = load_weights(model, RUNS/run/'model.safetensors')
    prior = train.counts/len(train)
    y_true,y_prob,about = read_folds(run, train, FOLDER)
    choice = cross_validated_choice(y_true, y_prob, prior)
    if about['alone']: choice['temperature'] = 1. # a student's confidence is its own
    path,classes = WEIGHTS/f'{name}.safetensors',meta['classes'].split(',')
    more = {k:v for k,v in meta.items() if k not in ('name','classes')}
    more.update(tau=choice['tau'], temperature=choice['temperature'])
    save_weights(released(model, choice, prior), path, name, classes, **more)
    load_weights(model, path) # what half precision left of them
    said = dict(more, run=run, recipe=json.dumps(recipes(run)), licence='Apache-2.0')
    parity = export_onnx(model, WEIGHTS/f'{name}.onnx', classes, name, said)
    print(name, choice['tau'], choice['temperature'], parity)
    metrics = write_record(name, run, valid, **choice, folds=about)
    _describe(WEIGHTS/f'{name}.onnx', WEIGHTS/f'{name}.onnx', metrics=metrics)
    if name in EIGHT_BITS: release_int8(name, run, train, valid)


if __name__=='__main__':
    faces = clean_split(real_faces())
    train = faces.subset('train')
    train = train[~train.not_a_face] # the faces that were learned from
    WEIGHTS.mkdir(exist_ok=True)
    for arg in sys.argv[1:]:
        name,_,run = arg.partition('=')
        try: release(name, run or name, train, faces.subset('valid'))
        except ValueError as e: raise SystemExit(f'error: {e}') from None
