"Seconds of CPU that an import takes, each in a process of its own: the best of five"
import subprocess
import sys

CODE = "import time; t = time.process_time(); import {}; print(time.process_time()-t)"


def best(module, n=5):
    command = [sys.executable, '-c', CODE.format(module)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(n)]
    return min(float(r.stdout) for r in runs)


parts = ('numpy', 'cv2', 'onnxruntime', 'fer_nbdev.core', 'fer_nbdev.detect', 'fer_nbdev.predict')
print(f"{'import':<24} {'seconds of CPU':>14}")
for module in parts: print(f"{module:<24} {best(module):>14.2f}")
