"""Answers requests over HTTP with a model that has been exported.

With a folder that pyg_featgraph.serve.export has written:

    python examples/serve_http.py --folder exported

    curl localhost:8000/score -H 'Content-Type: application/json' \\
        -d '{"rows": [{"age": 31, "city": "Oslo"}]}'

The server needs NumPy, onnxruntime, FastAPI and uvicorn, neither torch nor this
package: it takes the scorer that lies in the folder.

Without arguments it makes a table with planted interactions, trains GraphFM on
it for an epoch, exports it, serves it, sends a request over a socket, and ends.
"""

import argparse
import json
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field


class Request(BaseModel):
    """Rows as values by names of columns; what is missing may be left out."""

    rows: list[dict[str, Any]] = Field(min_length=1, max_length=4096)


def make_app(folder):
    """The server of one folder."""
    sys.path.insert(0, str(folder))
    from scorer import Scorer, ServingError

    scorer = Scorer(folder)
    app = FastAPI(title=f'{scorer.manifest["model"]} in {folder.name}')

    @app.get('/health')
    def health():
        return {
            'model': scorer.manifest['model'],
            'columns': scorer.columns,
            'classes': scorer.classes,
        }

    # Not a coroutine, so that each request has a thread, which the runtime
    # leaves to others while it computes.
    @app.post('/score')
    def score(request: Request):
        try:
            return {'scores': scorer.score(request.rows).tolist()}
        except ServingError as error:
            raise HTTPException(422, str(error)) from error

    return app


class Server(uvicorn.Server):
    """A server in a thread, for a context; port 0 is any that is free."""

    def __init__(self, app, port=0):
        super().__init__(uvicorn.Config(app, port=port, log_level='warning'))
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.ready.set()

    @property
    def url(self):
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f'http://{host}:{port}'

    def __enter__(self):
        self.thread.start()
        if not self.ready.wait(30) or not self.started:
            raise SystemExit('The server has not started')
        return self

    def __exit__(self, *args):
        self.should_exit = True
        self.thread.join(30)


def train_and_export(output, num_rows):
    """A small model in a folder, and rows that it has not seen."""
    from pyg_featgraph.data import FieldEncoder
    from pyg_featgraph.datasets import PlantedInteractions
    from pyg_featgraph.nn import GraphFM
    from pyg_featgraph.serve import export
    from pyg_featgraph.training import fit

    data = PlantedInteractions(num_rows, {2: 2}, 3, 5)
    df = data.frame()
    train, valid, new = (
        df[: num_rows * 8 // 10],
        df[num_rows * 8 // 10 : num_rows * 9 // 10],
        df[num_rows * 9 // 10 :],
    )
    encoder = FieldEncoder(data.schema()).fit(train)
    tables = [encoder.transform(part) for part in (train, valid)]
    model = GraphFM(encoder.info, embedding_dim=8, hidden_channels=8)
    output.mkdir(parents=True, exist_ok=True)
    result = fit(
        model,
        *tables,
        directory=output / 'run',
        max_epochs=1,
        enable_progress_bar=False,
    )
    print(f'GraphFM has a validation AUC of {result.metrics["valid_auc"]:.3f}')
    folder = export(model, encoder, output / 'exported', formats=['onnx'])
    return folder, json.loads(
        new[:3].drop(columns='label').to_json(orient='records')
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--folder', type=Path, help='what export has written')
    add('--port', type=int, default=8000, help='(default: 8000)')
    add('--rows', type=int, default=5000, help='of the own table')
    add(
        '--output',
        type=Path,
        default=Path('runs/serve_http'),
        help='folder of the own model (default: runs/serve_http)',
    )
    args = parser.parse_args()
    if args.folder is not None:
        uvicorn.run(make_app(args.folder), port=args.port)
        return
    folder, rows = train_and_export(args.output, args.rows)
    with Server(make_app(folder)) as server:
        request = urllib.request.Request(
            f'{server.url}/score',
            json.dumps({'rows': rows}).encode(),
            {'Content-Type': 'application/json'},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            scores = json.load(response)['scores']
    for row, score in zip(rows, scores, strict=True):
        print(f'{score:.3f}  {row}')
    print(f'python examples/serve_http.py --folder {folder} serves it')


if __name__ == '__main__':
    main()
