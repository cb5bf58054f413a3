__version__ = "0.1.0"

import os
# ONNX Runtime 1.29 and newer report to their maker when they are imported, unless this is set before
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
