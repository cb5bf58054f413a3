"""Turn finished runs into the packaged files: `python nbs/studies/release.py small nano`

Copies `runs/<name>/model.safetensors` to `fer_nbdev/weights/` and exports the same, half-precision weights to ONNX, with parity checked.
"""
import shutil, sys
from pathlib import Path

import fer_nbdev
from fer_nbdev.export import export_onnx
from fer_nbdev.models import create_model, load_weights

HERE,WEIGHTS = Path(__file__).parent,Path(fer_nbdev.__file__).parent/'weights'

for name in sys.argv[1:]:
    WEIGHTS.mkdir(exist_ok=True)
    shutil.copy(HERE/'runs'/name/'model.safetensors', WEIGHTS/f'{name}.safetensors')
    model = create_model(name)
    meta = load_weights(model, WEIGHTS/f'{name}.safetensors')
    print(name, meta, export_onnx(model, WEIGHTS/f'{name}.onnx', meta['classes'].split(','), name))
