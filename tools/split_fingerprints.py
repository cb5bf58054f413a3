"""Make fer_nbdev/assets/fer2013_splits.npz, which tells PublicTest from PrivateTest by hashes

It holds no pictures.

    python tools/split_fingerprints.py PATH_TO_FER2013_WITH_ITS_SPLITS
"""
import sys
from pathlib import Path
import numpy as np
from fer_nbdev.data import load_fer
from fer_nbdev.files import _fingerprints

faces = load_fer(sys.argv[1])
faces = faces[faces.split != 'train']
assert len(faces) == 7178, f"{len(faces)} faces in valid and test, expected 7,178"
exact, near = _fingerprints(faces.images)
order = np.argsort(exact)  # the order of the rows is nobody's business
out = Path(__file__).parents[1]/'fer_nbdev'/'assets'/'fer2013_splits.npz'
out.parent.mkdir(exist_ok=True)
np.savez_compressed(out, exact=exact[order], near=near[order],
                    label=faces.labels[order].astype(np.uint8),
                    test=(faces.split == 'test')[order])
print(f"{out}: {len(exact):,} fingerprints, {out.stat().st_size/1024:.0f} KB")
