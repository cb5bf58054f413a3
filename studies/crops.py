"""Which crop serves best: validation faces put back on a wider canvas, found again, and cut out

    FER2013_PATH=... python studies/crops.py        writes studies/results/crops.json

Each face is seen twice: as it is, and turned by an angle that was drawn from -30 to 30 degrees. All
crops of one face are answered by the same network, so every difference is a paired one.
"""
import json
import cv2
import numpy as np
from common import RESULTS, write_json
from fer_nbdev.data import load_fer
from fer_nbdev.detect import CROP_FACTOR, crop_face, find_faces
from fer_nbdev.predict import load_predictor

OUT = RESULTS/'crops.json'
FRAMES = (.9, 1., 1.05, 1.1, CROP_FACTOR, 1.2, 1.3)
N, SEED, BORDER = 2000, 0, 24


def canvas(face, degrees):
    "The face on a wider canvas, turned to the right around its middle"
    wide = cv2.copyMakeBorder(face, *(BORDER,)*4, cv2.BORDER_REPLICATE)
    if not degrees: return wide
    middle = (len(wide)-1)/2
    matrix = cv2.getRotationMatrix2D((middle, middle), -degrees, 1)
    return cv2.warpAffine(wide, matrix, wide.shape, borderMode=cv2.BORDER_REPLICATE)


def found(images, angles):
    "Canvas and box with its angle for each face that is found: {position: (canvas, box)}"
    boxes = {}
    for i, (face, degrees) in enumerate(zip(images, angles)):
        im = canvas(face, degrees)
        faces = find_faces(im, max_side=320, align=True)
        if faces: boxes[i] = im, faces[0]
    return boxes


def interval(difference):
    "Mean of paired differences with its 95 % interval, in points"
    mean, half = difference.mean(), 1.96*difference.std(ddof=1)/len(difference)**.5
    return [round(100*float(v), 2) for v in (mean, mean-half, mean+half)]


def compare(pred, boxes, labels, images):
    "Accuracy of each crop, and what it gains over `CROP_FACTOR` without alignment"
    at = list(boxes)
    def right(crops): return (pred.predict_proba(np.stack(crops)).argmax(1) == labels[at])*1.
    def cut(i, frame, align):
        im, box = boxes[i]
        return crop_face(im, box if align else box._replace(angle=0.), frame=frame)
    score = {(f, a): right([cut(i, f, a) for i in at]) for a in (False, True) for f in FRAMES}
    usual = score[CROP_FACTOR, False]
    rows = [dict(frame=f, align=a, accuracy=round(100*float(s.mean()), 2),
                 gain=interval(s-usual)) for (f, a), s in score.items()]
    gain_of_align = interval(score[CROP_FACTOR, True]-usual)
    return dict(found=len(at), original=round(100*float(right(images[at]).mean()), 2),
                gain_of_align=gain_of_align, rows=rows)


def main():
    faces = load_fer().subset('valid')[:N]
    angles = np.random.default_rng(SEED).uniform(-30, 30, len(faces))
    boxes = {'upright': found(faces.images, np.zeros(len(faces))),
             'turned': found(faces.images, angles)}
    off = [b.angle-angles[i] for i, (_, b) in boxes['turned'].items()]
    out = dict(data=faces.name, split='valid', faces=len(faces), seed=SEED,
               median_error_of_angle=round(float(np.median(np.abs(off))), 1), networks={})
    for name in ('nano', 'small'):
        pred = load_predictor(name)
        out['networks'][name] = {k: compare(pred, b, faces.labels, faces.images)
                                 for k, b in boxes.items()}
    write_json(OUT, out)
    print(json.dumps(out, indent=1))


if __name__ == '__main__': main()
