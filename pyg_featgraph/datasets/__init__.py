r"""Public data sets in their original formats, and one with a known truth."""

from pyg_featgraph.datasets.adult import Adult
from pyg_featgraph.datasets.avazu import Avazu
from pyg_featgraph.datasets.bank import BankMarketing
from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.credit import GiveMeSomeCredit
from pyg_featgraph.datasets.criteo import Criteo
from pyg_featgraph.datasets.diamonds import Diamonds
from pyg_featgraph.datasets.employee import EmployeeAccess
from pyg_featgraph.datasets.movielens import MovieLens1M
from pyg_featgraph.datasets.nursery import Nursery
from pyg_featgraph.datasets.planted import PlantedInteractions
from pyg_featgraph.datasets.telco import TelcoChurn

__all__ = [
    'TableDataset',
    'Adult',
    'Avazu',
    'BankMarketing',
    'Criteo',
    'Diamonds',
    'EmployeeAccess',
    'GiveMeSomeCredit',
    'MovieLens1M',
    'Nursery',
    'PlantedInteractions',
    'TelcoChurn',
]
