"""Probabilities for training faces by networks that did not see them

    python studies/fold_models.py nano_s0 small_s1

`release.py` chooses `tau` and temperature on them, so that neither is chosen on PublicTest. The
training faces are cut into folds, all duplicates of a photo in one fold. For each fold the run is
trained on the other folds by its recipe in `train_models.py`, its teachers as well, and the network
answers for the fold left out. Two cheaper variants, both recorded in the file: `--epochs-share .5`
shortens every recipe, and `--teachers strided_s0` keeps only this one. A student
without any teacher (`--teachers` and no name) has another confidence than the run itself, so only
`tau` is taken from such a file.

Folders lie in FER_RUNS (default `runs/` beside this script) under `folds/`; a killed run goes on.
"""
import argparse, json
from pathlib import Path

import numpy as np
from common import real_faces
from fer_nbdev.quality import clean_split, find_duplicates
from fer_nbdev.runs import fit_recipe
from fer_nbdev.train import get_recipe, predict_faces
from train_models import FOLDER as RUN_FOLDER, RUNS, lessons

FOLDER = RUN_FOLDER/'folds'


def fold_numbers(faces, n_folds, seed=0):
    "The fold of each face (N,): classes in equal shares, duplicates together"
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from sklearn.model_selection import StratifiedGroupKFold
    pairs,n = find_duplicates(faces),len(faces)
    graph = coo_matrix((np.ones(len(pairs)), (pairs.a, pairs.b)), (n,n))
    photos = connected_components(graph, directed=False)[1]
    cut = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold = np.zeros(n, int)
    parts = cut.split(faces.labels, faces.labels, photos)
    for k,(_,left_out) in enumerate(parts): fold[left_out] = k
    return fold


def kept_fold_numbers(faces, n_folds, folder):
    "`fold_numbers`, from a file in `folder` if there is one: the search takes minutes"
    path = Path(folder)/f'{n_folds}-{faces.fingerprint}.npy'
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix('.part')
        with open(part, 'wb') as f: np.save(f, fold_numbers(faces, n_folds))
        part.replace(path)
    return np.load(path)


def without_fold(faces, left_out):
    "The same faces: those of the fold are `valid`, the others `train`"
    split = np.where(left_out, 'valid', 'train')
    return faces.replace(split=split, name=f'{faces.name} in folds')


def teachers_of(name, only=None, runs=RUNS):
    "The runs whose networks teach the run `name`; `only` these if names are given"
    return [r for r in runs[name].get('teachers', ()) if only is None or r in only]


def train_run(name, faces, folder, epochs_share=1., only=None, runs=RUNS):
    "The network that the run `name` ends with on `faces`, after its teachers"
    s = {k:v for k,v in runs[name].items() if k!='teachers'}
    begin = s.pop('start', None)
    start = begin and train_run(begin, faces, folder, epochs_share, only, runs)
    if s.pop('classes', None):
        raise ValueError(f"{name}: a run on other classes is not released: no folds")
    seed,votes,dropout = s.pop('seed', 0),s.pop('votes', 0.),s.pop('dropout', None)
    small = s.pop('small', None)
    if small: small = small[0],round(epochs_share*small[1])
    recipe = get_recipe(s.pop('recipe'), **s)
    recipe['epochs'] = max(1, round(epochs_share*recipe['epochs']))
    networks = [train_run(t, faces, folder, epochs_share, only, runs)
                for t in teachers_of(name, only, runs)]
    cbs = lessons(networks, votes, folder, start, dropout, small)
    return fit_recipe(faces, recipe, folder/name, seed=seed, cbs=cbs).model


def out_of_fold(name, faces, n_folds=3, folder=FOLDER, epochs_share=1., only=None, runs=RUNS):
    "Train the networks of all folds and write `<name>.npz`; return its path"
    every,teachers = (teachers_of(name, names, runs) for names in (None,only))
    strangers = set(only or ())-set(every)
    if strangers: raise ValueError(f"{name} is taught by {every}, not by {sorted(strangers)}")
    fold = kept_fold_numbers(faces, n_folds, folder)
    kind = f'{n_folds}-{epochs_share:g}'
    if only is not None: kind += '-'+('-'.join(teachers) or 'alone')
    y_prob = np.zeros((len(faces),len(faces.classes)), np.float32)
    for k in range(n_folds):
        print(f'{name}: fold {k+1} of {n_folds}', flush=True)
        held_out = without_fold(faces, fold==k)
        model = train_run(name, held_out, folder/kind/str(k), epochs_share, only, runs)
        y_prob[fold==k] = predict_faces(model, faces.images[fold==k])
    alone = not teachers and bool(every)
    about = dict(run=name, n_folds=n_folds, epochs_share=epochs_share, teachers=teachers,
                 alone=alone, data=faces.name, fingerprint=faces.fingerprint)
    path = folder/f'{name}.npz'
    part = path.with_suffix('.part')
    with open(part, 'wb') as f:
        np.savez(f, y_true=faces.labels, y_prob=y_prob, fold=fold, about=json.dumps(about))
    part.replace(path)
    return path


def read_folds(name, faces, folder=FOLDER):
    "`(y_true, y_prob, about)` as `out_of_fold` wrote them for these faces; a ValueError otherwise"
    path = Path(folder)/f'{name}.npz'
    if not path.exists():
        raise ValueError(f"{path} is missing: run fold_models.py {name} first")
    with np.load(path) as d:
        y_true,y_prob,about = d['y_true'],d['y_prob'],json.loads(str(d['about']))
    if about['fingerprint']!=faces.fingerprint:
        raise ValueError(f"{path} was made on other faces ({about['fingerprint']}, these are "
                         f"{faces.fingerprint}): run fold_models.py {name} again")
    if not np.isfinite(y_prob).all():
        raise ValueError(f"{path} holds NaN: delete it and its folders, and run "
                         f"fold_models.py {name} again")
    return y_true,y_prob,about


def training_faces():
    "The faces of the clean training split that FER+ calls faces"
    train = clean_split(real_faces()).subset('train')
    return train[~train.not_a_face]


if __name__=='__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('runs', nargs='+', choices=list(RUNS), metavar='RUN')
    p.add_argument('--folds', type=int, default=3)
    p.add_argument('--epochs-share', type=float, default=1.)
    p.add_argument('--teachers', nargs='*', choices=list(RUNS), metavar='RUN')
    a = p.parse_args()
    faces = training_faces()
    for name in a.runs: print(out_of_fold(name, faces, a.folds, FOLDER, a.epochs_share, a.teachers))
