"""Sets of further columns that can be given to any contestant."""

from itertools import combinations

from pyg_featgraph.crossing import CrossFeatures


def crosses(table):
    """All pairs of fields, as categories."""
    names = table.names('categorical', 'numeric')
    make = CrossFeatures(
        list(combinations(names, 2)), min_count=2, schema=table.schema
    ).fit(table.train)
    extra = [make.transform(df) for df in table.parts]
    kinds = dict.fromkeys(extra[0].columns, 'categorical')
    return table.with_columns(extra, **kinds)


#: Functions from table to table. A contestant `a+b` is `a` on the table `b`.
FEATURES = {'crosses': crosses}
