"""How the documentation is built: `make docs`, into `docs/_build`."""

import re
import shutil
from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext import autosummary

import pyg_featgraph

HERE = Path(__file__).parent

project = author = 'pyg_featgraph'
copyright = 'The pyg_featgraph authors'
version = release = pyg_featgraph.__version__

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.mathjax',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
    'sphinx_design',
]
exclude_patterns = ['_build', '_templates']
templates_path = ['_templates']
html_theme = 'furo'
html_title = 'pyg_featgraph'
html_static_path = ['_static']
html_css_files = ['custom.css']
html_copy_source = False

myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 3

# Pages with cells are run at build, once for each content:
nb_execution_mode = 'cache'
nb_execution_cache_path = str(HERE / '_build' / 'cells')
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = 'remove'

# First sentences do not end at 'Eq. 3':
autosummary.WELL_KNOWN_ABBREVIATIONS += ('Eq.', 'Eqs.')
add_module_names = False
autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autosummary_ignore_module_all = False
napoleon_custom_sections = ['Shapes']
python_maximum_signature_line_length = 80


def contents(name: str) -> list[tuple[str, str, str]]:
    """What the page of a package documents: directives, packages and names.

    What a subpackage defines is on the page of that subpackage, under the
    shortest path that it can be imported by.
    """
    package = import_module(name)
    outer = name.rpartition('.')[0]
    found = []
    for item in package.__all__:
        value = getattr(package, item)
        parts = value.__module__.split('.')[: name.count('.') + 2]
        if len(parts) > name.count('.') + 1 and hasattr(
            import_module('.'.join(parts)), '__path__'
        ):
            continue
        short = item in getattr(import_module(outer), '__all__', ())
        kind = 'autofunction'
        if isinstance(value, type):
            error = issubclass(value, Exception)
            kind = 'autoexception' if error else 'autoclass'
        found.append((kind, outer if short else name, item))
    return found


autosummary_context = {'contents': contents}

# Links to names of this library have to lead somewhere. Not looked up are other
# libraries, words that describe types, and what is not part of the interface:
LIBRARIES = (
    'abc|collections|lightning|matplotlib|numpy|os|pandas|pathlib|pd|ray|scipy|'
    'shapiq|sklearn|torch|torch_geometric|torchmetrics|types'
)
WORDS = (
    'array|callable|iterable|iterator|mapping|optional|sequence|ArrayLike|Data|'
    'Entry|Figure|ExplainedPair|ExplainedRow|InteractionValues|OptTensor|Pair|'
    'Rows|Space|SparseTensor|Tensor'
)
INTERNAL = (
    r'sklearn\.base|data\.(choice|codecs|infer|values)|datasets\.planted_logits|intervals|'
    r'explain\.perturb\.graph_model|nn\.(config|lazy)|'
    r'nn\.conv\.hyperedge_base|nn\.models\.featnet|training\.options'
)
nitpicky = True
nitpick_ignore_regex = [
    ('py:obj', '(?s:.*)'),  # the role of code in docstrings, as in those of PyG
    ('py:.*', rf'({LIBRARIES})\..*'),
    ('py:class', WORDS),
    ('py:.*', rf'pyg_featgraph\.({INTERNAL})(\..*)?'),
]
suppress_warnings = ['config.cache']  # the function in autosummary_context


# What was measured is a part of the site. Links between the folders hold in the
# repository, and here, where benchmarks is below docs:
(HERE / 'benchmarks').mkdir(exist_ok=True)
for page in (HERE.parent / 'benchmarks').glob('*.md'):
    shutil.copy2(page, HERE / 'benchmarks')


def nearer(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = re.sub(r'\.\./(benchmarks/\w+\.md)', r'\1', source[0])


def skip_requests(
    app: Sphinx, what: str, name: str, item: object, skip: bool, options: object
) -> bool | None:
    # Of scikit-learn, for the routing of metadata, with links into its pages:
    return True if name.startswith('set_') and 'request' in name else None


def setup(app: Sphinx) -> None:
    app.connect('autodoc-skip-member', skip_requests)
    app.connect('source-read', nearer)
