"What nbdev's processing puts on a page, for Quarto and docs/build.py alike: API tables, the exported source, live figures"
import ast, importlib, inspect, json, re, textwrap
from pathlib import Path

import nbdev.processors, nbdev.serve, nbdev.showdoc
from execnb.nbio import mk_cell
from fastcore.docments import MarkdownRenderer, docments
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup, _lineno
from nbdev.processors import FilterDefaults, exec_show_docs, rm_export
from nbdev.process import Processor

EMPTY,KINDS = inspect.Parameter.empty,{inspect.Parameter.VAR_POSITIONAL: '*', inspect.Parameter.VAR_KEYWORD: '**'}


def short(s, n=60): return s if len(s)<=n else '...'
def cell(s): return s.replace('<', r'\<').replace('|', r'\|').replace('\n', ' ')
def code(s): return f'`{s}`' if s else ''
def only_imports(source):
    try: return all(isinstance(t, (ast.Import,ast.ImportFrom)) for t in ast.parse(source).body)
    except SyntaxError: return False # a magic
def return_comment(f):
    "What stands behind `):` about what comes back; docments reads it only after an annotation, which would need the type's import"
    m = re.search(r'^\): # (.+)$', inspect.getsource(f), re.M)
    return m[1] if m else ''
def first_line(f): return (inspect.cleandoc(f.__doc__ or '').splitlines() or [''])[0]


class Api(MarkdownRenderer):
    "A name with its [source], what it does, how it is called, and a table of its parameters"
    module = '' # of the page
    def __init__(self, sym, *args, **kwargs):
        self.is_property = isinstance(sym, property)
        super().__init__(sym, *args, **kwargs)

    def params(self):
        "(name, type, default, details) of each parameter and of what comes back"
        if hasattr(self.sym, '_fields'): return (yield from self.fields())
        try: full = docments(self.sym, full=True, returns=True, args_kwargs=True)
        except Exception: return []
        if 'return' in full and not full['return']['docment'] and inspect.isfunction(self.sym): full['return']['docment'] = return_comment(self.sym)
        for n,p in full.items():
            if n=='self' or (n=='return' and (inspect.isclass(self.sym) or not (p['docment'] or p['anno'] not in (EMPTY,None)))): continue
            anno,default = p.get('anno', EMPTY),p.get('default', EMPTY)
            kind = '' if anno is EMPTY or anno in (None, type(None)) else anno if isinstance(anno, str) else re.sub(r'\b(\w+\.)+', '', inspect.formatannotation(anno))
            default = '' if default is EMPTY else getattr(default, '__name__', None) or repr(default)
            yield '→' if n=='return' else KINDS.get(p.get('kind'), '')+n, kind, short(default), p['docment'] or ''

    def fields(self):
        "The same of a named tuple, whose `__init__` names nothing: its class body does"
        body = inspect.getsource(getattr(importlib.import_module(self.module), self.nm))
        for n,kind,default,details in re.findall(r'^    (\w+):(\w+)(?: = (\S+))?(?: # (.+))?$', body, re.M): yield n, kind, default, details

    def source(self):
        "Link to the line that defines it, found by module and name: two modules may use one name"
        look = NbdevLookup()
        found = look[f'{self.module}.{self.nm}'] or look[self.fn]
        return f'{found[2]}#L{_lineno(self.nm, found[1])}' if isinstance(found, tuple) else ''

    def methods(self):
        "A line for each public method and property in a class's body (those added later by `@patch` have a place of their own)"
        for n,f in vars(self.sym).items() if inspect.isclass(self.sym) else ():
            f = getattr(f, '__func__', f)
            if n[0]=='_' or not (inspect.isfunction(f) or isinstance(f, property)): continue
            args = '' if isinstance(f, property) else '(' + ', '.join(p for p in inspect.signature(f).parameters if p not in ('self','cls')) + ')'
            yield f'[`{n}{args}`]{{#{self.nm.lower()}.{n.lower()}}} | {cell(first_line(f))}'

    def _repr_markdown_(self):
        params,source = list(self.params()),self.source()
        args = [n + (f'={d}' if d else '') for n,_,d,_ in params if n!='→']
        call = f"{self.nm}({', '.join(args)})"
        if len(call)>80: call = f"{self.nm}(\n" + textwrap.fill(', '.join(args), 80, initial_indent='    ', subsequent_indent='    ', break_long_words=False, break_on_hyphens=False) + ')'
        docs = self.docs[:1].upper() + self.docs[1:] # `docs`: the docstring without its tables
        parts = ['::: {.api}', f"{'#'*self.title_level} {self.nm}", f'[source]({source}){{.source}}' if source else '', docs]
        if not self.is_property: parts.append(f'```python\n{call}\n```')
        if any(d for *_,d in params):
            rows = [('', '**Type**', '**Default**', '**Details**')] + [(code(n) if n!='→' else '**Returns**', code(t), code(d), cell(c)) for n,t,d,c in params]
            rows = list(zip(*[col for col in zip(*rows) if any(col[1:])])) # no empty column
            rows.insert(1, ['---']*len(rows[0]))
            parts.append('\n'.join('| ' + ' | '.join(r) + ' |' for r in rows))
        methods = list(self.methods())
        if methods: parts.append('| **Methods** | |\n|---|---|\n' + '\n'.join(f'| {m} |' for m in methods))
        return '\n\n'.join(p for p in parts+[':::'] if p)


class keep_source(Processor):
    "Exported code stays on the page: folded beneath its API table, or as it is where it defines nothing public. Imports go."
    def begin(self):
        cells = self.nb.cells
        for c in [c for c in cells if {'export','exporti'} & c.directives_.keys() and 'hide' not in c.directives_]:
            if only_imports(c.source): continue
            for d in ('export','exporti'): c.directives_.pop(d, None)
            i = j = cells.index(c)
            while j+1<len(cells) and getattr(cells[j+1], 'has_sd', False): j += 1
            if j>i:
                c.source = '#| code-fold: true\n#| code-summary: Source\n' + c.source
                cells.insert(j, cells.pop(i))


class live_figures(Processor):
    "Plotly's figures as HTML, with the script that lies beside the pages instead of one from elsewhere"
    def begin(self): self.n = 0
    def cell(self, c):
        for o in c.get('outputs', []) if c.cell_type=='code' else []:
            figure = o.get('data', {}).get('application/vnd.plotly.v1+json')
            if figure: o['data'] = {'text/html': self.draw(figure)}

    def draw(self, figure):
        self.n += 1
        layout = {k:v for k,v in figure.get('layout', {}).items() if k!='width'} # as wide as the page
        args = [json.dumps(a).replace('</', r'<\/') for a in (figure['data'], layout, dict(responsive=True, displaylogo=False))]
        up = '../'*(len(Path(self.nb.path_).resolve().relative_to(get_config().nbs_path).parts)-1)
        script = f'<script src="{up}plotly.min.js"></script>' if self.n==1 else ''
        return f'{script}<div class="plotly-figure" id="plotly-{self.n}" style="height:{layout.get("height",480)}px"></div><script>Plotly.newPlot("plotly-{self.n}",{",".join(args)})</script>'


class split_opening(Processor):
    "The first cell's title, subtitle and settings become front matter; what follows them there would be lost with the cell"
    def begin(self):
        first = self.nb.cells[0]
        m = re.match(r'# .+\n+(?:> .+(?:\n|$))?(?:\n*(?:- \w+: .+(?:\n|$))+)?', first.source) if first.cell_type=='markdown' else None
        if m and first.source[m.end():].strip():
            rest = mk_cell(first.source[m.end():].strip(), 'markdown')
            first.source,rest.directives_ = m[0],{}
            self.nb.cells.insert(1, rest)


class exec_exports(exec_show_docs):
    "Run what signatures need: exported cells and plain imports, but no cell that imports and then goes on to do something"
    def begin(self):
        names = [c.directives_['default_exp'][0] for c in self.nb.cells if 'default_exp' in c.directives_]
        Api.module = f'{get_config().lib_path.name}.{names[0]}' if names else ''
        super().begin()

    def __call__(self, c):
        if c.cell_type!='code': return super().__call__(c)
        asked = 'exec_doc' in c.directives_ or re.search(r'^show_doc\(', c.source, re.M)
        if not asked and not {'export','exports','exporti'} & c.directives_.keys() and not only_imports(c.source): return
        kept = c.get('outputs', [])
        super().__call__(c)
        if not asked: c.outputs = kept # a page shows what was committed, not the warnings of today's import


class Links(NbdevLookup):
    "nbdev's links from `name` to its place; `train` in prose is the split, and `train()` the function"
    def _link_sym(self, m): return m[0] if m[0]=='`train`' else super()._link_sym(m)


class Pages(FilterDefaults):
    def base_procs(self):
        procs = [exec_exports if p is exec_show_docs else p for p in super().base_procs()]
        return [split_opening] + procs[:procs.index(rm_export)] + [keep_source] + procs[procs.index(rm_export):] + [live_figures]


def process(only=()):
    "nbdev's processed notebooks, in _proc/"
    nbdev.showdoc.BasicMarkdownRenderer,nbdev.serve.FilterDefaults,nbdev.processors.NbdevLookup = Api,Pages,Links
    skip = f"^(?!({'|'.join(only)}))" if only else None
    return nbdev.serve.proc_nbs(path=str(get_config().nbs_path), n_workers=0, force=True, skip_file_re=skip)
