"""The data layer: reading, encoding and loading, rows a second."""

import argparse
import tempfile
import time
from pathlib import Path

from common import report, spread, time_interleaved
from torch_geometric.loader import DataLoader

from pyg_featgraph.data import FieldEncoder, FieldGraphLoader
from pyg_featgraph.datasets import Criteo, PlantedInteractions


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rows', type=int, default=1_000_000)
    parser.add_argument('--graphs', type=int, default=8192)
    parser.add_argument('--batch-size', type=int, default=4096)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--json')
    args = parser.parse_args()

    data = PlantedInteractions(args.rows)
    marks = [time.perf_counter()]
    df = data.frame()
    marks.append(time.perf_counter())
    encoder = FieldEncoder(data.schema()).fit(df)
    marks.append(time.perf_counter())
    table = encoder.transform(df)
    marks.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'log.txt'
        data.write_criteo(path)
        marks.append(time.perf_counter())
        Criteo(path).frame()
        marks.append(time.perf_counter())
    names = ('generate', 'fit', 'transform', 'write text', 'read text')
    rows = [
        {'what': name, 'rows per second': f'{args.rows / (b - a):,.0f}'}
        for name, a, b in zip(names, marks[:-1], marks[1:], strict=True)
    ]

    few = table.subset(slice(0, args.graphs))
    graphs = few.batch().to_data_list()
    forms = {
        'DataLoader over a list of Data': DataLoader(
            graphs, args.batch_size, shuffle=True
        ),
        'FieldGraphLoader': FieldGraphLoader(few, args.batch_size, True),
        'FieldGraphLoader, with edges': FieldGraphLoader(
            few, args.batch_size, True
        ),
    }

    def run(name, loader):
        for batch in loader:
            if name != 'FieldGraphLoader':
                _ = batch.edge_index, batch.batch

    seconds = time_interleaved(
        {
            name: lambda name=name, loader=loader: run(name, loader)
            for name, loader in forms.items()
        },
        args.repeats,
    )
    for name in forms:
        rates = [args.graphs / s for s in seconds[name]]
        rows.append({'what': name, 'rows per second': spread(rates)})
    report(rows, args.json, vars(args))


if __name__ == '__main__':
    main()
