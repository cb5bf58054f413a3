"Every exported function says what each of its arguments is and what comes back"
import inspect
from importlib import import_module
from pathlib import Path
import pytest
from fastcore.docments import docments
import fer_nbdev

MODULES = sorted(f.stem for f in Path(fer_nbdev.__file__).parent.glob('[a-z]*.py'))
# of one line each: `create_model` says what their arguments are
NETWORKS = {'nano', 'small', 'base', 'emojify_cnn', 'cifar_cnn'}
GIVES_NOTHING = {'require', 'explain_csv', 'report', 'save_weights', '_atomic_save', 'hooked_eval'}


@pytest.mark.parametrize('module', MODULES)
def test_docments(module, root, monkeypatch):
    monkeypatch.syspath_prepend(root/'docs')
    from pages import return_comment # what the site adds to docments
    mod = import_module(f'fer_nbdev.{module}')
    silent = []
    for name in mod.__all__:
        f = getattr(mod, name)
        if not callable(f): continue
        if not f.__doc__: silent.append(name)
        if inspect.isclass(f) or name in NETWORKS: continue
        for arg,d in docments(f, full=True, returns=True, args_kwargs=True).items():
            said = d['docment'] or arg=='return' and (name in GIVES_NOTHING or return_comment(f))
            if not said: silent.append(f'{name}: {arg}')
    assert not silent
