"""What a camera's faults cost: `python studies/robustness.py small nano`

Scores packaged networks (by name) or ONNX files (by path) on PublicTest as it is, and on copies
with noise, JPEG, blur and so on, one fault at a time. JPEG is Pillow's own. Each file is one row of
`results/robustness.json`, known by its sha256: a file that was scored before is scored again in its
place, a new release under an old name is a new row.
Nothing here sees `test`.
"""
import hashlib, io, json, sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from common import RESULTS, keep_row, real_faces
from fer_nbdev.evaluate import classification_metrics
from fer_nbdev.predict import load_predictor

WEIGHTS = Path(load_predictor.__code__.co_filename).parent/'weights'
OUT = RESULTS/'robustness.json'

def noisy(images, sigma=.05):
    noise = np.random.default_rng(0).normal(size=images.shape)*sigma*255
    return (images+noise).round().clip(0,255).astype(np.uint8)

def compressed(image, quality=20):
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'jpeg', quality=quality)
    return np.array(Image.open(file))

def blurred(image, sigma=1): return cv2.GaussianBlur(image, (0,0), sigma)

def halved(image):
    h,w = image.shape
    small = cv2.resize(image, (w//2,h//2), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (w,h), interpolation=cv2.INTER_LINEAR)

def moved(image, angle=0, right=0):
    h,w = image.shape
    m = cv2.getRotationMatrix2D(((w-1)/2,(h-1)/2), angle, 1)
    m[0,2] += right
    return cv2.warpAffine(image, m, (w,h), borderMode=cv2.BORDER_REFLECT)

def each(change): return lambda images: np.stack([change(im) for im in images])

FAULTS = {
    'as it is': lambda images: images,
    'noise, sigma .05': noisy,
    'JPEG, quality 20': each(compressed),
    'blur, sigma 1': each(blurred),
    'half resolution': each(halved),
    'turned by 15 degrees': each(lambda im: moved(im, angle=15)),
    'moved by 4 pixels': each(lambda im: moved(im, right=4)),
    'half as bright': lambda images: images//2,
}

def robustness(
    predict_proba, # uint8 (N, H, W) -> (N, n_classes)
    faces, # `Faces` with labels
): # dict: accuracy and macro-F1 under each fault; how often a mirror image gets another answer
    "Figures of one network on `faces`, one fault at a time"
    rows = {}
    for fault,change in FAULTS.items():
        y_prob = predict_proba(change(faces.images))
        metrics = classification_metrics(faces.labels, y_prob)
        rows[fault] = {k: round(float(metrics[k]), 4) for k in ('accuracy','macro_f1')}
        if fault=='as it is': answer = y_prob.argmax(1)
    mirrored = predict_proba(np.ascontiguousarray(faces.images[:,:,::-1])).argmax(1)
    return dict(faults=rows, mirror_disagreement=round(float((answer!=mirrored).mean()), 4))

def row(name, faces):
    path = WEIGHTS/f'{name}.onnx' if not name.endswith('.onnx') else Path(name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return dict(name=path.stem, file=path.name, sha256=digest, data=faces.name, split='PublicTest',
                n=len(faces), command=f'python studies/robustness.py {name}',
                **robustness(load_predictor(str(path)).predict_proba, faces))

if __name__=='__main__':
    if len(sys.argv)<2: raise SystemExit("name networks: small, nano, or the path of an ONNX file")
    valid = real_faces().subset('valid')
    for name in sys.argv[1:]:
        r = row(name, valid)
        keep_row(OUT, r)
        for fault,m in r['faults'].items():
            print(f"{name:<10}{fault:<22}{m['accuracy']:.4f} {m['macro_f1']:.4f}")
        print(f"{name:<10}another answer to the mirror image: {r['mirror_disagreement']:.4f}")
