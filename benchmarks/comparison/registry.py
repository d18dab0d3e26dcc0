"""All contestants by name, alone or with a set of further columns."""

from dataclasses import replace

from comparison import boosted, linear, ours, tabm_net
from comparison.features import FEATURES

CONTESTANTS = {
    **linear.CONTESTANTS,
    **boosted.CONTESTANTS,
    **tabm_net.CONTESTANTS,
    **ours.CONTESTANTS,
}
#: The contestants with further columns that take part without being asked.
WITH_FEATURES = ('lightgbm+target', 'sklearn-lr+crosses', 'sklearn-lr+greedy')
DEFAULT = (*CONTESTANTS, *WITH_FEATURES)


def contestant(name):
    """The contestant of that name, which may be `model+features`."""
    base, *features = name.split('+')
    known = CONTESTANTS.get(base)
    if known is None or any(x not in FEATURES for x in features):
        raise SystemExit(
            f"'{name}' is no contestant. There are {', '.join(CONTESTANTS)}, "
            f'each alone or with {", ".join("+" + x for x in FEATURES)}'
        )

    if not features:
        return known

    def with_features(function):
        def call(table, *args):
            for feature in features:
                table = FEATURES[feature](table)
            return function(table, *args)

        return call

    return replace(
        known,
        run=with_features(known.run),
        tune=known.tune and with_features(known.tune),
    )
