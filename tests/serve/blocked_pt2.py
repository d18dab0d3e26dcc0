"""Scores encoded rows by the other format, with torch but without this
package and its operators.

    python blocked_pt2.py MODEL.pt2 INPUTS.npz OUT.npz
"""

import sys

sys.modules.update(dict.fromkeys(('pyg_featgraph', 'torch_geometric')))

import numpy as np  # noqa: E402
import torch  # noqa: E402

model = torch.export.load(sys.argv[1]).module()
with np.load(sys.argv[2]) as file:
    inputs = [torch.from_numpy(file[k]) for k in ('index', 'value')]
out = {}
for size in (1, 2, 37, len(inputs[0])):
    out[str(size)] = model(*(x[:size] for x in inputs)).detach().numpy()
np.savez(sys.argv[3], **out)
