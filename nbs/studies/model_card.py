"""Write MODEL_CARD.md from `results/`: `python nbs/studies/model_card.py`; with `--check`, only say whether it is up to date."""
import json, sys
from pathlib import Path

HERE = Path(__file__).parent
CARD = HERE.parent.parent/'MODEL_CARD.md'
METRICS = dict(accuracy='accuracy, %', balanced_accuracy='balanced accuracy, %', macro_f1='macro-F1, %', top2='top-2, %')

def span(m): return f"{100*m['value']:.1f} [{100*m['low']:.1f}, {100*m['high']:.1f}]"

def card():
    final = json.loads((HERE/'results/final.json').read_text())
    names = [r['name'] for r in final if 'leak-free' not in r['name']]
    runs = {n: json.loads((HERE/f'results/{n}.json').read_text()) for n in names}
    released = {n: json.loads((HERE/f'results/{n}_release.json').read_text()) for n in names}
    minutes = {r['name']: r['minutes'] for r in final}
    def table(rows, cols): return '\n'.join(['| '+' | '.join(cols)+' |', '|'+'---|'*len(cols), *('| '+' | '.join(map(str,r))+' |' for r in rows)])
    scored = table([(f"`{r['name']}`", f"{r['split']}, {r['n']:,}", *(span(r['metrics'][m]) for m in METRICS), f"{r['metrics']['ece']['value']:.3f}") for r in final],
                   ['network','faces',*METRICS.values(),'calibration error'])
    chosen = table([(f'`{n}`', f"PublicTest, {r['n']:,}", *(span(r['metrics'][m]) for m in METRICS), f"{r['metrics']['ece']['value']:.3f}") for n,r in released.items()],
                   ['network','faces',*METRICS.values(),'calibration error'])
    def recipe(r):
        c = r['record']['recipe']
        rare = f", rare classes drawn more often (weights to the power {c['balance_power']})" if c.get('balance_power') else ''
        taught = f", the mean answer of {', '.join(f'`{t}`' for t in r['teachers'])} as {r['teachers_weight']} of the loss (distillation; Hinton, Vinyals & Dean 2015)" if r['teachers'] else ''
        spent = f"{r['cpu_minutes']:.0f} minutes of processor time" + (f", with its teachers and theirs {minutes[r['name']]:.0f}" if r['teachers'] else '')
        return (f"{c['epochs']} epochs of one-cycle AdamW to a rate of {c['lr']} on {r['train_faces']:,} faces, weight decay {c['wd']}, batches of {c['bs']}, "
                f"label smoothing {c['loss_args']['eps']}, averaged weights (decay {c['ema_decay']}), FER+ votes as a second task (weight {c['vote_weight']}, its layer dropped at the end){rare}{taught}, "
                f"augmentation {', '.join(f'{k} {v}' for k,v in c['augment'].items() if v)}; {spent} (`{r['command']}`, "
                f"[record](nbs/studies/results/{r['name']}.json), [log](nbs/studies/results/{r['name']}.csv))")
    def network(n):
        r = runs[n]
        v = r['record']['versions']
        return (f"- **`{n}`**, {r['params']:,} parameters, seed {r['seed']}, torch {v['torch']}, fastai {v['fastai']}: {recipe(r)}. Then the head's bias moved by {released[n]['tau']} times the log of each class's share "
                f"of the training faces (logit adjustment, Menon et al. 2021; {len(released[n]['tried'])} strengths tried on PublicTest), and all logits divided by {released[n]['temperature']} (temperature scaling on PublicTest, Guo et al. 2017; `{released[n]['command']}`).")
    train = runs[names[0]]['train_faces']
    return f"""# Model card: {', '.join(f'`{n}`' for n in names)}

Made by `python nbs/studies/model_card.py` from the json in `nbs/studies/results/`; nothing is typed in by hand.

## What they are

Small convolutional networks that name one of seven expressions (angry, disgust, fear, happy, sad, surprise, neutral) for a grey 48×48 face. In the package as safetensors (half precision) and ONNX; `load_predictor` finds the faces in a photo first. Licence of code and weights: Apache 2.0; the photographs they learnt from have terms of their own and are not in this repository.

## What they learnt from

FER-2013's training split without the faces that have an exact or near twin in the two evaluation splits (see [quality](nbs/04_quality.ipynb)), and without those that FER+ dropped as not a face: {train:,} faces, and the ten FER+ votes for each. No other data and no pre-training elsewhere.

## How they were trained

{chr(10).join(network(n) for n in names)}

Epochs and recipe were chosen with PublicTest alone. One seed each: the spread between seeds is not in the intervals below, which are stratified bootstraps over faces.

## How well they do

PrivateTest, scored once for each released file (`python nbs/studies/final_evaluation.py`), one view, 95 % intervals. *Leak-free* leaves out faces with a twin in any other split:

{scored}

PublicTest, on which choices were made:

{chosen}

Agreement with FER-2013's labels is not truth: people agree with them for 65 ± 5 % of the faces (Goodfellow et al. 2013).

## Limits

- A face is not a feeling. The networks name what strangers would call a picture.
- FER-2013 was gathered by web search in 2013 and records neither age, gender nor skin tone. Performance by group is unknown, and surely unequal.
- Disgust is rare in it: figures for that class are uncertain.
- Trained on tight, mostly frontal faces. Turned, masked, very dark or very small faces, drawings and animals get an answer too, and it means little.
- Probabilities were checked for calibration on FER-2013 only.

## Uses

Meant for learning, teaching, research on the method, and play (an emoji on a camera image of people who know and agree).

Not allowed, by us, and in many places by law: judging people at work, at school, at borders, in court, in shops or in health care; inferring what someone feels, intends or believes; watching people who did not agree. The EU's AI Act (2024/1689, article 5) forbids emotion inference at work and in education.
"""

if __name__=='__main__':
    text = card()
    if '--check' in sys.argv: sys.exit(0 if CARD.exists() and CARD.read_text(encoding='utf-8')==text else 'MODEL_CARD.md is not what model_card.py makes of results/: run it')
    CARD.write_text(text, encoding='utf-8')
