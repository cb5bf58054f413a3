"""Make fer_nbdev/assets/leak_features.npz: what `find_leaks` looks at first; no pictures.

    python tools/leak_features.py PATH_TO_FER2013

They are learnt on 3,000 training faces and 3,000 drawn ones, always the same, in ten seconds.
"""
import os, sys
from pathlib import Path
import numpy as np
from fer_nbdev.data import load_fer
from fer_nbdev.quality import _learn_features
from fer_nbdev.synthetic import synthetic_faces

images = load_fer(sys.argv[1]).subset('train').images
images = images[images.std((1, 2)) > 5]  # without the pictures that show nothing
real = images[np.random.default_rng(0).permutation(len(images))[:3000]]
drawn = synthetic_faces(3000, random_state=100, duplicates=0).images
features = _learn_features(np.concatenate([real, drawn]))
out = Path(__file__).parents[1]/'fer_nbdev'/'assets'/'leak_features.npz'
part = out.with_suffix('.part.npz')
np.savez_compressed(part, **{k: v.astype(np.float16) for k, v in features._asdict().items()})
os.replace(part, out)
print(f"{out}: {features.weights.shape[1]} features, {out.stat().st_size/1024:.0f} KB")
