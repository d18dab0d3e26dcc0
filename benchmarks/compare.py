"""Every model and every feature set next to what people use otherwise, on
many tables, or on one of your own:

    python benchmarks/compare.py --root path/to/data --tables adult telco
    python benchmarks/compare.py --data table.csv --label clicked
    python benchmarks/compare.py --tune --trials 20
    python benchmarks/compare.py --report

All contestants see the same training, validation and test rows. Test rows are
the official ones or a fixed draw; validation rows are drawn by the seed, stop
the trainings and choose the settings: with `--tune` by a search of so many
trials with Optuna, whose result stands in `benchmarks/settings` and is used
from then on. Each finished cell, a contestant on a table with a seed, is a
file, so a run that was stopped goes on where it was; cells whose settings have
changed, or that failed, are computed again. In the end, or with `--report`
at once, `report.md`, `report.json` and `report.png` show all cells there are.
"""

import argparse
from itertools import product
from pathlib import Path

from comparison import cells, report, tables
from comparison.registry import DEFAULT, contestant
from comparison.tasks import MAIN

HERE = Path(__file__).parent


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--tables',
        nargs='+',
        choices=tables.SOURCES,
        default=tables.DEFAULT,
        metavar='TABLE',
        help=f'some of {", ".join(tables.SOURCES)}',
    )
    parser.add_argument(
        '--root',
        type=Path,
        default=HERE.parents[1] / 'shared' / 'data',
        help='the folder with a folder for each of the real tables',
    )
    parser.add_argument('--data', type=Path, help='a CSV or Parquet file')
    parser.add_argument('--label', help='the label column of --data')
    parser.add_argument(
        '--task',
        choices=MAIN,
        help='what is predicted of --data (default: inferred)',
    )
    parser.add_argument(
        '--contestants',
        nargs='+',
        default=DEFAULT,
        metavar='NAME',
        help=f'some of {", ".join(DEFAULT)}; a+b gives the columns b to a',
    )
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--tune', action='store_true', help='choose settings')
    parser.add_argument('--trials', type=int, default=20)
    parser.add_argument('--jobs', type=int, default=1, help='processes')
    parser.add_argument(
        '--threads', type=int, default=1, help='of each process'
    )
    parser.add_argument('--output', type=Path, default=Path('runs/compare'))
    parser.add_argument('--settings', type=Path, help='the folder of settings')
    parser.add_argument(
        '--report', action='store_true', help='of what is there, and no more'
    )
    args = parser.parse_args(argv)
    if (args.data is None) != (args.label is None):
        parser.error('--data and --label belong together')
    names = [args.data.stem] if args.data else list(args.tables)
    # Settings of a table of one's own are no business of this folder:
    folder = args.output if args.data else HERE
    place = cells.Place(
        args.root,
        args.output,
        args.settings or folder / 'settings',
        args.data,
        args.label,
        args.task,
    )
    for name in args.contestants:
        contestant(name)  # Misspelled ones are told before hours have passed.
    if args.tune and not args.report:
        todo = [
            (place, table, name, args.trials, args.threads)
            for table, name in product(names, args.contestants)
        ]
        cells.run(cells.tune, todo, args.jobs, 'settings')
    if not args.report:
        todo = [
            (place, table, name, seed, args.threads)
            for seed, table, name in product(
                range(args.seeds), names, args.contestants
            )
            if not cells.is_done(place, table, name, seed)
        ]
        cells.run(cells.compute, todo, args.jobs, 'cells')
    found = report.collect(place, names, args.contestants, range(args.seeds))
    print(report.write(place, *found))


if __name__ == '__main__':
    main()
