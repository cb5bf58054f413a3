"""What nbdev's processing puts on a page, for Quarto and docs/build.py alike: API tables,
exported source, folded solutions, live figures"""
import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import nbdev.processors
import nbdev.serve
import nbdev.showdoc
from execnb.nbio import mk_cell
from fastcore.docments import MarkdownRenderer, docments
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup, _lineno
from nbdev.process import Processor
from nbdev.processors import FilterDefaults, add_show_docs, exec_show_docs, rm_export
from render import PLOTLY, fold_solutions, plotly_html

EMPTY = inspect.Parameter.empty
STARS = {inspect.Parameter.VAR_POSITIONAL: '*', inspect.Parameter.VAR_KEYWORD: '**'}
EXPORTS = {'export', 'exporti'}


def cell(s): return s.replace('<', r'\<').replace('|', r'\|').replace('\n', ' ')
def code(s): return f'`{s}`' if s else ''
def first_line(f): return (inspect.cleandoc(f.__doc__ or '').splitlines() or [''])[0]


def is_ours(f): return str(getattr(f, '__module__', '')).startswith(get_config().lib_name)


def only_imports(source):
    try: body = ast.parse(source).body
    except SyntaxError: return False # a magic
    return all(isinstance(t, (ast.Import, ast.ImportFrom)) for t in body)


def type_name(anno):
    "An annotation as readers write it: without modules"
    if anno in (EMPTY, None, type(None)): return ''
    if isinstance(anno, str): return anno
    return re.sub(r'\b(\w+\.)+', '', inspect.formatannotation(anno))


def default_text(default):
    if default is EMPTY: return ''
    shown = getattr(default, '__name__', None) or repr(default)
    return shown if len(shown) <= 60 else '...'


def return_comment(f):
    """The comment after `):` about what comes back. docments reads it only after an annotation,
    which would need an import of its type"""
    m = re.search(r'^\): # (.+)$', inspect.getsource(f), re.M)
    return m[1] if m else ''


class Api(MarkdownRenderer):
    "A name with its [source], what it does, how it is called, and a table of its parameters"
    module = '' # of the page

    def __init__(self, sym, *args, **kwargs):
        self.is_property = isinstance(sym, property)
        super().__init__(sym, *args, **kwargs)

    def params(self):
        "(name, type, default, details) of each parameter and of what comes back"
        if hasattr(self.sym, '_fields'): return (yield from self.fields())
        # fastai's `__init__` of a callback takes all its events, which nobody passes
        if inspect.isclass(self.sym) and not is_ours(self.sym.__init__): return
        try: found = docments(self.sym, full=True, returns=True, args_kwargs=True)
        except Exception: return []
        if inspect.isclass(self.sym): found.pop('return', None)
        for n,p in found.items():
            details, kind = p['docment'] or '', type_name(p.get('anno', EMPTY))
            if n == 'return':
                if not details and inspect.isfunction(self.sym): details = return_comment(self.sym)
                if details or kind: yield '→', kind, '', details
            elif n != 'self':
                yield STARS.get(p.get('kind'), '')+n, kind, default_text(p['default']), details

    def fields(self):
        "The same of a named tuple, whose `__init__` names nothing: its class body does"
        body = inspect.getsource(getattr(importlib.import_module(self.module), self.nm))
        yield from re.findall(r'^    (\w+):(\w+)(?: = (\S+))?(?: # (.+))?$', body, re.M)

    def source(self):
        "Link to the line that defines it, by module and name: two modules may use one name"
        look = NbdevLookup()
        found = look[f'{self.module}.{self.nm}'] or look[self.fn]
        if not isinstance(found, tuple): return ''
        return f'[source]({found[2]}#L{_lineno(self.nm, found[1])}){{.source}}'

    def call(self, params):
        "The signature, on several lines if it is long"
        args = ', '.join(n + (f'={d}' if d else '') for n,_,d,_ in params if n != '→')
        line = f"{self.nm}({args})"
        if len(line) > 80:
            indent = ' '*4
            args = textwrap.fill(args, 80, initial_indent=indent, subsequent_indent=indent,
                                 break_long_words=False, break_on_hyphens=False)
            line = f"{self.nm}(\n{args})"
        return f'```python\n{line}\n```'

    def table(self, params):
        "Name, type, default, details; without the columns that are empty"
        if not any(details for *_,details in params): return ''
        rows = [('', '**Type**', '**Default**', '**Details**')]
        for n,kind,default,details in params:
            name = '**Returns**' if n == '→' else code(n)
            rows.append((name, code(kind), code(default), cell(details)))
        columns = [c for c in zip(*rows) if any(c[1:])]
        rows = list(zip(*columns))
        rows.insert(1, ['---']*len(columns))
        return '\n'.join('| ' + ' | '.join(r) + ' |' for r in rows)

    def methods(self):
        "A line for each public method in a class's body; those by `@patch` have their own place"
        lines = []
        for n,f in vars(self.sym).items() if inspect.isclass(self.sym) else ():
            f = getattr(f, '__func__', f)
            is_property = isinstance(f, property)
            if n[0] == '_' or not (is_property or inspect.isfunction(f)): continue
            names = () if is_property else inspect.signature(f).parameters
            args = ', '.join(p for p in names if p not in ('self', 'cls'))
            name = n if is_property else f'{n}({args})'
            id = f'{self.nm}.{n}'.lower()
            lines.append(f'| [`{name}`]{{#{id}}} | {cell(first_line(f))} |')
        return '\n'.join(['| **Methods** | |', '|---|---|', *lines]) if lines else ''

    def _repr_markdown_(self):
        params = list(self.params())
        docs = self.docs[:1].upper() + self.docs[1:] # the docstring without its tables
        if docs == 'Call self as a function.': docs = '' # what nbdev says of no docstring
        parts = ['::: {.api}', f"{'#'*self.title_level} {self.nm}", self.source(), docs,
                 '' if self.is_property else self.call(params), self.table(params),
                 self.methods(), ':::']
        return '\n\n'.join(p for p in parts if p)


class keep_source(Processor):
    """Exported code stays on the page: folded beneath its API table, or as it is where it
    defines nothing public. Imports go."""
    def begin(self):
        cells = self.nb.cells
        for c in [c for c in cells if EXPORTS & c.directives_.keys()]:
            if 'hide' in c.directives_ or only_imports(c.source): continue
            for d in EXPORTS: c.directives_.pop(d, None)
            i = j = cells.index(c)
            while j+1 < len(cells) and getattr(cells[j+1], 'has_sd', False): j += 1
            if j > i:
                c.source = '#| code-fold: true\n#| code-summary: Source\n' + c.source
                cells.insert(j, cells.pop(i))


class folded_solutions(Processor):
    "Solutions of exercises in a callout that opens on a click"
    def begin(self):
        def new_cell(source):
            c = mk_cell(source, 'markdown')
            c.directives_ = {}
            return c
        self.nb.cells[:] = fold_solutions(list(self.nb.cells), new_cell)


class live_figures(Processor):
    "Plotly's figures as HTML, with the script that lies beside the pages"
    def begin(self):
        folder = Path(self.nb.path_).resolve().parent
        self.n, self.up = 0, '../'*len(folder.relative_to(get_config().nbs_path).parts)

    def cell(self, c):
        for o in c.get('outputs', []) if c.cell_type == 'code' else []:
            figure = o.get('data', {}).get(PLOTLY)
            if not figure: continue
            self.n += 1
            o['data'] = {'text/html': plotly_html(figure, self.n, self.up)}


class split_opening(Processor):
    """The first cell's title, subtitle and settings become front matter. What follows them
    moves to a cell of its own, or it would be lost"""
    def begin(self):
        first = self.nb.cells[0]
        if first.cell_type != 'markdown': return
        m = re.match(r'# .+\n+(?:> .+(?:\n|$))?(?:\n*(?:- \w+: .+(?:\n|$))+)?', first.source)
        if not m or not first.source[m.end():].strip(): return
        rest = mk_cell(first.source[m.end():].strip(), 'markdown')
        first.source, rest.directives_ = m[0], {}
        self.nb.cells.insert(1, rest)


class exec_exports(exec_show_docs):
    "Run what signatures need, exported cells and plain imports, and no cell that does more"
    def begin(self):
        named = (c.directives_.get('default_exp') for c in self.nb.cells)
        name = next((n[0] for n in named if n), '')
        Api.module = f'{get_config().lib_path.name}.{name}' if name else ''
        super().begin()

    def __call__(self, c):
        if c.cell_type != 'code': return super().__call__(c)
        asked = 'exec_doc' in c.directives_ or re.search(r'^show_doc\(', c.source, re.M)
        exported = {*EXPORTS, 'exports'} & c.directives_.keys()
        if not (asked or exported or only_imports(c.source)): return
        kept = c.get('outputs', [])
        super().__call__(c)
        if not asked: c.outputs = kept # what was committed, not the warnings of today's import


class public_docs(add_show_docs):
    "No documentation for what is private; its code is on the page"
    def begin(self):
        super().begin()
        self.nb.cells = [c for c in self.nb.cells if not c.source.startswith('show_doc(_')]


class Links(NbdevLookup):
    "nbdev's links from `name` to its place; `train` in prose is the split, `train()` the function"
    def _link_sym(self, m): return m[0] if m[0] == '`train`' else super()._link_sym(m)


class Pages(FilterDefaults):
    def base_procs(self):
        ours = {exec_show_docs: exec_exports, add_show_docs: public_docs}
        procs = [ours.get(p, p) for p in super().base_procs()]
        i = procs.index(rm_export)
        return [split_opening, *procs[:i], keep_source, *procs[i:], folded_solutions, live_figures]


def process(only=()):
    "nbdev's processed notebooks, in _proc/"
    nbdev.showdoc.BasicMarkdownRenderer = Api
    nbdev.serve.FilterDefaults = Pages
    nbdev.processors.NbdevLookup = Links
    skip = f"^(?!({'|'.join(only)}))" if only else None
    nbs = str(get_config().nbs_path)
    return nbdev.serve.proc_nbs(path=nbs, n_workers=0, force=True, skip_file_re=skip)
