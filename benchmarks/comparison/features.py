"""Sets of columns that can be given to any contestant."""

from functools import partial

from pyg_featgraph.crossing import CrossFeatures, greedy_crosses

KINDS = {
    'binary': 'binary',
    'multiclass': 'multiclass',
    'regression': 'continuous',
}


def crosses(table, **options):
    """The columns of `CrossFeatures`, made of training rows."""
    make = CrossFeatures(
        target_type=KINDS[table.task], schema=table.schema, **options
    )
    train, valid, test = table.inputs
    # Statistics of a training row leave its own label out:
    extra = [make.fit_transform(train, table.labels[0])]
    extra += [make.transform(df) for df in (valid, test)]
    for df in extra:
        df.columns = [str(name) for name in df.columns]
    kind = 'categorical' if make.encode == 'ids' else 'numeric'
    return table.with_columns(extra, **dict.fromkeys(extra[0], kind))


def statistics(table, **options):
    """Statistics in place of categories, which trees learn by heart."""
    out = crosses(table, encode=('target', 'count'), **options)
    return out.without(table.names('categorical'))


def greedy(table):
    """The crosses that gain most one after the other, as categories."""
    found = greedy_crosses(
        table.inputs[0],
        table.labels[0],
        target_type=KINDS[table.task],
        schema=table.schema,
    )
    return crosses(table, interactions=found, min_count=2)


#: Functions from table to table. A contestant `a+b` is `a` on the table `b`.
FEATURES = {
    'crosses': partial(crosses, order=(2,), min_count=2),
    'greedy': greedy,
    'target': partial(statistics, order=2),
    'target3': partial(statistics, order=3),
}
