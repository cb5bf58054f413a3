"Every look at PrivateTest is in the ledger before it is shown; tau and temperature come from folds"
import json, shutil

import numpy as np
import pytest
from fer_nbdev.quality import find_duplicates, find_leaks
from fer_nbdev.synthetic import synthetic_faces


@pytest.fixture
def studies(root, monkeypatch):
    "The scripts as modules"
    folder = next(p for p in (root/'studies',) if (p/'ledger.py').exists())
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def ledger(studies):
    import ledger
    return ledger


@pytest.fixture
def place(tmp_path, root, studies, ledger):
    "A folder with one released file, its records and a ledger with one line"
    weights,results = tmp_path/'weights',tmp_path/'results'
    weights.mkdir()
    results.mkdir()
    shutil.copy(root/'fer_nbdev/weights/nano.onnx', weights)
    run = dict(split='valid', teachers=[], cpu_minutes=3., params=299263, seed=0)
    (results/'nano_s0.json').write_text(json.dumps(ledger.signed(run)))
    about = dict(name='nano', run='nano_s0', split='valid')
    (results/'nano_release.json').write_text(json.dumps(ledger.signed(about)))
    (results/'looks.jsonl').write_text('')
    ledger.add_line(dict(kind='lost run', name='first'), results/'looks.jsonl')
    return weights,results


@pytest.fixture(scope='module')
def drawn():
    faces = synthetic_faces(300, random_state=3, duplicates=.2)
    return faces,find_leaks(faces)


def evaluate(place, drawn):
    from final_evaluation import final_evaluation
    return final_evaluation(*drawn, *place)


def test_history_is_whole(studies, ledger):
    "Seven released files were looked at before there was a ledger, and its chain of digests fits"
    lines = ledger.read_ledger(studies/'results/looks.jsonl')
    seen = [l['sha256'] for l in ledger.looks(lines)]
    assert len(seen)>=7 and len(set(seen[:7]))==7
    assert [l['date'] for l in lines]==sorted(l['date'] for l in lines)
    assert {'small_first','nano_first'}<={l['name'] for l in ledger.lost_runs(lines)}
    rows = ledger.check_results(studies/'results/final.json', lines)
    assert {r['sha256'] for r in rows}<=set(seen)


def test_no_value_outside_its_own_interval(studies, ledger):
    lines = ledger.read_ledger(studies/'results/looks.jsonl')
    for row in [r for l in ledger.looks(lines) for r in l['rows']]:
        assert 'low' not in row['metrics']['ece']
        for k,m in row['metrics'].items():
            assert k=='ece' or m['low']<=m['value']<=m['high'], (row['name'], k)


def test_a_file_is_scored_once(place, drawn, ledger, capsys):
    rows = evaluate(place, drawn)
    assert [r['name'] for r in rows]==['nano','nano, leak-free']
    faces,leaks = drawn
    leaky = set(leaks.b[leaks.split_b=='test'])
    assert rows[0]['n']==(faces.split=='test').sum() and rows[0]['n']-rows[1]['n']==len(leaky)>0
    path = place[1]/'looks.jsonl'
    assert len(ledger.looks(ledger.read_ledger(path)))==1
    assert json.loads((place[1]/'final.json').read_text())==rows
    before = path.read_bytes()
    assert evaluate(place, drawn)==rows and path.read_bytes()==before
    assert '0 of 2 parts' in capsys.readouterr().out


def test_the_ledger_comes_first(place, drawn, ledger, monkeypatch, capsys):
    "When the results cannot be written after a look, the look stands, and it is not taken again"
    import final_evaluation as fe
    def broken(*a, **kw): raise OSError('disk full')
    with monkeypatch.context() as m:
        m.setattr(fe.Path, 'write_text', broken)
        with pytest.raises(OSError): evaluate(place, drawn)
    lines = ledger.looks(ledger.read_ledger(place[1]/'looks.jsonl'))
    assert len(lines)==1 and not (place[1]/'final.json').exists()
    assert evaluate(place, drawn)==lines[0]['rows']


def test_other_leaks_make_a_new_look_at_the_leak_free_part_only(place, drawn, ledger):
    faces,leaks = drawn
    first = evaluate(place, drawn)
    second = evaluate(place, (faces, leaks[leaks.split_b!='test']))
    assert second[0]==first[0] and second[1]['n']==first[0]['n']
    last = ledger.looks(ledger.read_ledger(place[1]/'looks.jsonl'))[-1]
    assert [r['name'] for r in last['rows']]==['nano, leak-free']


def test_other_file_under_an_old_name_is_a_new_look(root, place, drawn, ledger):
    first = evaluate(place, drawn)
    shutil.copy(root/'fer_nbdev/weights/small.onnx', place[0]/'nano.onnx')
    second = evaluate(place, drawn)
    assert first[0]['sha256']!=second[0]['sha256']
    seen = ledger.looks(ledger.read_ledger(place[1]/'looks.jsonl'))
    assert [l['sha256'] for l in seen]==[first[0]['sha256'],second[0]['sha256']]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def spoil_missing(results): (results/'looks.jsonl').unlink()
def spoil_folder(results):
    (results/'looks.jsonl').unlink()
    (results/'looks.jsonl').mkdir()
def spoil_line(results): edit(results/'looks.jsonl', '"first"', '"third"')
def spoil_json(results): edit(results/'looks.jsonl', '{', '')
def spoil_split(results): (results/'final.json').write_text('[{"name": "nano", "split": "valid"}]')
def spoil_rows(results):
    (results/'final.json').write_text('[{"name": "nano", "split": "PrivateTest", "n": 9}]')
def spoil_results(results): (results/'final.json').write_text('{"a": 1}')
def spoil_release(results): edit(results/'nano_release.json', 'valid', 'test')
def spoil_run(results): (results/'nano_s0.json').unlink()
def spoil_minutes(results): edit(results/'nano_s0.json', '3.0', '2.0')
def spoil_run_split(results): edit(results/'nano_s0.json', 'valid', 'test')
def spoil_run_json(results): (results/'nano_s0.json').write_text('{"split": ')
def spoil_release_list(results): (results/'nano_release.json').write_text('[1]')
def spoil_end(results):
    text = (results/'looks.jsonl').read_text()
    (results/'looks.jsonl').write_text(text.rstrip('\n'))
def spoil_encoding(results): (results/'looks.jsonl').write_bytes(b'\xff\xfe{}')


@pytest.mark.parametrize('spoil,says', [
    (spoil_missing, 'looks.jsonl is missing'),
    (spoil_folder, 'looks.jsonl is missing'),
    (spoil_line, 'line 1: its digest does not fit'),
    (spoil_json, 'line 1: not json'),
    (spoil_split, "is of the split 'valid', expected PrivateTest"),
    (spoil_rows, 'are in no look of the ledger'),
    (spoil_results, 'expected a list of rows'),
    (spoil_release, "is of the split 'test', expected 'valid'"),
    (spoil_run, 'nano_s0.json is missing'),
    (spoil_minutes, 'nano_s0.json was edited by hand'),
    (spoil_run_split, "nano_s0.json is of the split 'test'"),
    (spoil_run_json, 'nano_s0.json: not json'),
    (spoil_release_list, 'nano_release.json: no record'),
    (spoil_end, 'looks.jsonl ends in the middle of a line'),
    (spoil_encoding, 'looks.jsonl: not UTF-8 text'),
])
def test_nothing_is_scored(place, drawn, spoil, says, monkeypatch, capsys):
    import final_evaluation as fe
    spoil(place[1])
    ledger = place[1]/'looks.jsonl'
    before = ledger.read_bytes() if ledger.is_file() else None
    with pytest.raises(ValueError) as e: evaluate(place, drawn)
    assert says in str(e.value)
    assert capsys.readouterr().out==''
    assert (ledger.read_bytes() if ledger.is_file() else None)==before


def test_a_ledger_that_cannot_be_written(place, drawn, ledger, monkeypatch):
    "Root may write anything, so the refusal of the disk is simulated"
    def refuse(path, mode='r', **kw):
        if 'a' in mode: raise PermissionError(13, 'Permission denied')
        return open(path, mode, **kw)
    monkeypatch.setattr(ledger, 'open', refuse, raising=False)
    with pytest.raises(ValueError, match='cannot be written .*nothing is scored'):
        evaluate(place, drawn)
    assert not (place[1]/'final.json').exists()


def test_edited_figures_are_refused(place, drawn, ledger):
    evaluate(place, drawn)
    final = place[1]/'final.json'
    rows = json.loads(final.read_text())
    rows[0]['metrics']['accuracy']['high'] += .01
    final.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="'nano' are in no look"): evaluate(place, drawn)


def test_an_edited_release_is_refused(studies, tmp_path, ledger):
    about = dict(name='nano', split='valid', tau=.1)
    path = tmp_path/'nano_release.json'
    path.write_text(json.dumps(ledger.signed(about)))
    assert ledger.read_release('nano', tmp_path)['tau']==.1
    edit(path, '0.1', '0.3')
    with pytest.raises(ValueError, match='edited by hand'): ledger.read_release('nano', tmp_path)
    path.write_text(json.dumps(about)) # a digest that was taken out is no way around
    with pytest.raises(ValueError, match='edited by hand'): ledger.read_release('nano', tmp_path)
    path.write_text(json.dumps(dict(about, split='test')))
    with pytest.raises(ValueError, match="split 'test'"): ledger.read_release('nano', tmp_path)


def test_a_bad_record_of_one_file_stops_all(root, place, drawn, ledger):
    "Also where another file, with good records, comes first"
    shutil.copy(root/'fer_nbdev/weights/small.onnx', place[0])
    with pytest.raises(ValueError, match='small_release.json is missing'): evaluate(place, drawn)
    about = dict(name='small', run='nano_s0', split='valid')
    (place[1]/'small_release.json').write_text(json.dumps(ledger.signed(about)))
    (place[1]/'nano_release.json').write_text('{}') # `small` comes first
    with pytest.raises(ValueError, match="nano_release.json is of the split 'None'"):
        evaluate(place, drawn)
    assert not ledger.looks(ledger.read_ledger(place[1]/'looks.jsonl'))


def test_card_gives_the_count_of_looks(root, studies, ledger):
    n = len(ledger.looks(ledger.read_ledger(studies/'results/looks.jsonl')))
    for text in ('MODEL_CARD.md','README.md','nbs/studies/first_results.ipynb'):
        assert f'looked at {n} times' in (root/text).read_text(), text


# tau and temperature

SHARES = np.array([.14,.02,.14,.25,.17,.11,.17])


def answers(n, rng, prior_shift=0., sharpness=1.):
    "Labels, and probabilities of a model that leans to frequent classes as far as `prior_shift`"
    y = rng.choice(7, n, p=SHARES)
    evidence = 1.6*np.eye(7)[y]+rng.normal(size=(n,7)) # log likelihood ratio: 1.6 each
    logits = sharpness*(1.6*evidence+prior_shift*np.log(SHARES))
    p = np.exp(logits-logits.max(1, keepdims=True))
    return y,p/p.sum(1, keepdims=True)


@pytest.mark.parametrize('prior_shift', [0., .6])
def test_no_tau_where_none_is_best(studies, prior_shift):
    "The truth on 300,000 faces; then what is chosen on 3,000 of them, again and again"
    from release import TAUS, adjusted, choose_tau, score
    rng = np.random.default_rng(0)
    y,p = answers(300_000, rng, prior_shift)
    truth = {t: score(y, adjusted(p, SHARES, t))[0] for t in TAUS}
    assert max(truth, key=truth.get)==0, truth
    made = [choose_tau(*answers(3000, rng, prior_shift), SHARES) for _ in range(40)]
    assert sum(tau>0 for tau,_ in made)<=2, made
    if not prior_shift: return
    best = [max(tried, key=lambda r: r['score'])['tau'] for _,tried in made]
    assert np.mean(np.array(best)>0)>.15, best # without the rule, noise makes a shift


def test_a_tau_where_it_is_clearly_better(studies):
    from release import TAUS, adjusted, choose_tau, score
    rng = np.random.default_rng(0)
    y,p = answers(300_000, rng, 1.6)
    truth = {t: score(y, adjusted(p, SHARES, t))[0] for t in TAUS}
    gain = max(truth.values())-truth[0]
    chosen = [choose_tau(*answers(20_000, rng, 1.6), SHARES)[0] for _ in range(12)]
    assert gain>.02 and min(chosen)>0, (gain, chosen)
    assert np.mean([truth[t] for t in chosen])>truth[0]+.6*gain, chosen


def test_temperature_is_one_unless_it_is_clearly_better(studies):
    from release import choose_temperature
    rng = np.random.default_rng(2)
    def calibrated(n, sharpness):
        p = answers(n, rng)[1]
        y = (p.cumsum(1)>rng.random((n,1))).argmax(1)
        q = p**sharpness
        return y,q/q.sum(1, keepdims=True)
    ones = [choose_temperature(*calibrated(2000, 1.)) for _ in range(30)]
    assert np.mean(np.array(ones)==1)>=.6, ones
    assert abs(np.array(ones)-1).max()<.15
    twos = [choose_temperature(*calibrated(2000, 2.)) for _ in range(10)]
    assert abs(np.mean(twos)-2)<.1, twos


def test_the_choice_is_recorded(studies):
    from release import TAUS, cross_validated_choice
    c = cross_validated_choice(*answers(2000, np.random.default_rng(3)), SHARES)
    assert c['chosen_on']=='train, out of fold' and c['n_chosen_on']==2000
    assert [t['tau'] for t in c['tried']]==list(TAUS) and c['tau'] in TAUS
    json.dumps(c)


# folds

def test_folds_part_no_duplicates(studies):
    from fold_models import fold_numbers, without_fold
    train = synthetic_faces(400, random_state=1, duplicates=.3).subset('train')
    fold,pairs = fold_numbers(train, 3),find_duplicates(train)
    assert len(pairs)>10 and (fold[pairs.a]==fold[pairs.b]).all()
    assert set(fold)=={0,1,2} and min(np.bincount(fold))>len(train)/5
    part = without_fold(train, fold==1)
    assert (part.split[fold==1]=='valid').all() and (part.split[fold!=1]=='train').all()
    assert len(part)==len(train) and (part.labels==train.labels).all()


RUNS = dict(one=dict(recipe='nano', model='cifar_cnn', epochs=4, vote_weight=0., ema_decay=None,
                     small=(48,2)), # progressive resizing, to the size that it has
            two=dict(recipe='nano', model='cifar_cnn', epochs=2, vote_weight=0., ema_decay=None,
                     seed=1, teachers=['one']),
            other=dict(recipe='nano', classes=('happy','sad')))


@pytest.fixture
def folds(studies):
    import fold_models
    return fold_models


def test_out_of_fold_on_drawn_faces(folds, tmp_path):
    "Each face is answered by a network that did not train on it, and all is recorded"
    from fer_nbdev.models import create_model, load_weights
    from fer_nbdev.train import predict_faces
    train = synthetic_faces(400, random_state=1).subset('train')
    def make(): return folds.out_of_fold('two', train, 2, tmp_path, .5, None, RUNS)
    with np.load(make()) as d: fold = d['fold']
    y,p,about = folds.read_folds('two', train, tmp_path)
    assert (y==train.labels).all() and np.allclose(p.sum(1), 1, atol=1e-4)
    assert (about['n_folds'], about['epochs_share'], about['teachers'])==(2, .5, ['one'])
    assert not about['alone']
    for k in (0,1):
        for run,epochs in (('one',2),('two',1)):
            record = json.loads((tmp_path/'2-0.5'/str(k)/run/'record.json').read_text())
            assert record['recipe']['epochs']==epochs
            if run=='one': assert record['callbacks']['SmallFirst']==dict(size=48, epochs=1)
        model = create_model('cifar_cnn')
        load_weights(model, tmp_path/'2-0.5'/str(k)/'two'/'model.safetensors')
        assert np.allclose(predict_faces(model, train.images[fold==k]), p[fold==k], atol=1e-2)
    make() # finished runs are not trained again
    assert (folds.read_folds('two', train, tmp_path)[1]==p).all()


def test_a_student_without_its_teachers_is_alone(folds, tmp_path):
    train = synthetic_faces(400, random_state=1).subset('train')
    folds.out_of_fold('two', train, 2, tmp_path, .5, [], RUNS)
    assert folds.read_folds('two', train, tmp_path)[2]['alone']
    assert not (tmp_path/'2-0.5-alone/0/one').exists()
    kept = np.load(tmp_path/f'2-{train.fingerprint}.npy')
    assert (kept==folds.fold_numbers(train, 2)).all()


def test_one_teacher_of_the_run_teaches_in_the_folds(folds, tmp_path):
    train = synthetic_faces(400, random_state=1).subset('train')
    folds.out_of_fold('two', train, 2, tmp_path, .5, ['one'], RUNS)
    assert (tmp_path/'2-0.5-one/0/one/model.safetensors').exists()
    with pytest.raises(ValueError, match=r"two is taught by \['one'\], not by \['other'\]"):
        folds.out_of_fold('two', train, 2, tmp_path, .5, ['other'], RUNS)


def test_runs_of_the_plan_are_understood(studies):
    "All runs that are to be released, their teachers included, have recipes for their folds"
    from fer_nbdev.train import get_recipe
    from fold_models import RUNS, teachers_of
    from train_models import OTHER, run_names
    for name in [r for line in ('nano','small','base') for r in run_names(line)]:
        teachers = teachers_of(name)
        assert teachers and len(set(teachers))==len(teachers)
        assert teachers_of(name, teachers[:1])==teachers[:1] and teachers_of(name, [])==[]
        for t in (name,*teachers):
            s = {k:v for k,v in RUNS[t].items() if k not in OTHER}
            assert get_recipe(RUNS[t]['recipe'], **s)['epochs']>=1


def test_folds_of_other_faces_are_refused(folds, tmp_path):
    train = synthetic_faces(60, random_state=1).subset('train')
    with pytest.raises(ValueError, match='two.npz is missing: run fold_models.py two'):
        folds.read_folds('two', train, tmp_path)
    np.savez(tmp_path/'two.npz', y_true=train.labels, y_prob=np.zeros((len(train),7)),
             about=json.dumps(dict(fingerprint='abc')))
    with pytest.raises(ValueError, match='made on other faces'):
        folds.read_folds('two', train, tmp_path)
    with pytest.raises(ValueError, match='other: a run on other classes'):
        folds.train_run('other', train, tmp_path, runs=RUNS)


def test_release_on_drawn_faces(studies, tmp_path, monkeypatch):
    "From a run and its folds to files that answer, with the choice in their heads and on record"
    import release as r
    from fold_models import out_of_fold
    from fer_nbdev.predict import load_predictor
    from fer_nbdev.runs import fit_recipe
    from fer_nbdev.train import predict_faces
    faces = synthetic_faces(300, random_state=1)
    train,valid = faces.subset('train'),faces.subset('valid')
    run = dict(recipe='nano', epochs=1, bs=32, vote_weight=0., ema_decay=None)
    model = fit_recipe(faces[faces.split!='test'], path=tmp_path/'nano_s1', **run).model
    (tmp_path/'nano_s1/result.json').write_text(json.dumps(dict(record=dict(recipe=run))))
    out_of_fold('nano_s1', train, 2, tmp_path/'folds', runs=dict(nano_s1=run))
    for k in ('WEIGHTS','RESULTS','RUNS'): monkeypatch.setattr(r, k, tmp_path)
    monkeypatch.setattr(r, 'FOLDER', tmp_path/'folds')
    r.release('nano', 'nano_s1', train, valid)
    about = json.loads((tmp_path/'nano_release.json').read_text())
    assert (about['run'], about['split'], about['folds']['n_folds'])==('nano_s1', 'valid', 2)
    expected = r.adjusted(predict_faces(model, valid.images), train.counts/len(train), about['tau'])
    got = load_predictor(tmp_path/'nano.onnx').predict_proba(valid.images)
    assert np.abs(got-r.tempered(expected, about['temperature'])).max()<5e-3
    said = load_predictor(tmp_path/'nano.onnx')._sess.get_modelmeta().custom_metadata_map
    assert said['metrics'].startswith('PublicTest, chosen there: accuracy ')
    assert said['licence']=='Apache-2.0'
    assert json.loads(said['recipe'])[0]['epochs']==1
    assert said['fingerprint'] and said['temperature']
    small = load_predictor(tmp_path/'nano-int8.onnx') # the same network, its numbers rounded
    assert small._sess.get_modelmeta().custom_metadata_map['bits']=='8'
    assert np.abs(small.predict_proba(valid.images)-got).max()<.1
    assert json.loads((tmp_path/'nano-int8_release.json').read_text())['agreement']>.5
