#!/usr/bin/env bash
# story.sh BIN_DIR: everything a user does with a text, on Tiny Shakespeare and with the built
# programs: prepare, train, a power cut, resume, evaluate, generate, search, report. Each step
# states what it must leave behind; the script stops at the first that does not. It is a test of
# `make test`, and an example for every program.
set -euo pipefail
bin=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Prints a command as it would be typed, and runs it. Its output also goes to the file `said`.
run() {
  printf '\n$ %s\n' "$*"
  "$bin/$1" "${@:2}" 2>&1 | tee said
}
fail() {
  printf '\nstory.sh: %s\n' "$*" >&2
  exit 1
}
said() { grep -q -- "$1" said || fail "expected to read '$1'"; }
is_there() { for path in "$@"; do [ -s "$path" ] || fail "$path is not there"; done; }
same() { cmp "$1" "$2" || fail "$1 is not $2"; }
steps_of() { grep -c '"split":"train"' "$1/metrics.jsonl" 2>/dev/null || true; }

# A folder for training: the two texts, their tokens, the tokenizer, and a manifest of how they were
# made. Nothing is made twice.
run prepare --dataset tiny_shakespeare --val-split 0.02 --tokenizer char --out data
is_there data/{train.txt,val.txt,train.tokens,val.tokens,tokenizer.json,manifest.json}
said '67 tokens in the vocabulary'
run prepare --dataset tiny_shakespeare --val-split 0.02 --tokenizer char --out data
said 'is up to date'

# How much memory, disk and time will it take? The answer writes nothing.
settings=(--data data --vocab auto --set dim=64 --set layers=3 --batch 4 --seq 64 --steps 200
  --val-tokens 0 --save-every 40 --lr 3e-3 --dropout 0.1)
run train "${settings[@]}" --plan
said 'parameters'
said 'tokens/s'

# An undisturbed run,
run train "${settings[@]}" --out whole
said 'step 200/200'
said 'sample of generated text'

# and one with the same settings that is killed in the middle, without warning or a chance to save
# anything.
printf '\n$ %s\n' "train ${settings[*]} --out run & sleep ..; kill -KILL"
"$bin/train" "${settings[@]}" --out run --quiet &
train=$!
until [ "$(steps_of run)" -ge 100 ]; do
  kill -0 $train || fail "the run ended before it could be killed"
  sleep 0.02
done
kill -KILL $train
status=0
wait $train 2>/dev/null || status=$?
[ $status = 137 ] || fail "the run was to be killed and ended with $status"
[ ! -e run/final_checkpoint ] || fail "the run came to its end"

# It resumes from its newest checkpoint and ends with the same weights, moments and figures as the
# first run, bit for bit.
run train --resume --out run
said 'going on after step [48]0\|going on after step 1[26]0'
for checkpoint in best_model final_checkpoint; do
  same run/$checkpoint/model.safetensors whole/$checkpoint/model.safetensors
  same run/$checkpoint/optimizer.safetensors whole/$checkpoint/optimizer.safetensors
done
[ "$(steps_of run)" = 200 ] || fail "metrics.jsonl has $(steps_of run) steps"

# Evaluate the model on the validation text: the loss is exactly the one that the run logged.
run evaluate --checkpoint run
said 'bits per character'
run evaluate --checkpoint run --json
logged=$(sed -n 's/.*"split":"val","loss":\([^,]*\),.*/\1/p' run/metrics.jsonl)
said "\"loss\": $logged,"

# Generate a text of the requested length. The same seed gives the same text.
run generate --checkpoint run --prompt 'ROMEO:' --tokens 200 --temperature 0.8 --seed 1
said '^ROMEO:'
[ "$(wc -m <said)" = 207 ] || fail "expected the prompt, 200 characters and a line end"
mv said first
run generate --checkpoint run --prompt 'ROMEO:' --tokens 200 --temperature 0.8 --seed 1 >/dev/null
same said first

# Four experiments. The best becomes a file of options. A second call finds them done.
run search --data data --grid lr=1e-3,1e-2 --grid batch=2,4 --steps 60 --out search \
  -- --vocab auto --set dim=64 --set layers=2 --seq 64
said '4/4'
said 'perplexity'
[ "$(wc -l <search/results.jsonl)" = 4 ] || fail "results.jsonl has not four lines"
grep -q '"error":"[^"]' search/results.jsonl && fail "an experiment failed"
run search --data data --grid lr=1e-3,1e-2 --grid batch=2,4 --steps 60 --out search \
  -- --vocab auto --set dim=64 --set layers=2 --seq 64
said 'going on after 4 results'
run train --options search/best.toml --out better --steps 80
said 'step 80/80'

# Another architecture, in the same way: a resumed run, its loss, its text, and a search over both
# architectures.
other=(--data data --vocab auto --arch mingru --set dim=64 --set layers=2 --batch 4 --seq 64
  --val-tokens 0 --save-every 20)
run train "${other[@]}" --plan
said 'minGRU'
run train "${other[@]}" --steps 40 --out other
run train --resume --out other --steps 60
said 'step 60/60'
run evaluate --checkpoint other
said 'bits per character'
run generate --checkpoint other --prompt 'ROMEO:' --tokens 20
said '^ROMEO:'
run search --data data --grid arch=mmrec,mingru --steps 40 --out architectures \
  -- --vocab auto --set dim=64 --set layers=2 --seq 64
said 'mingru .*40'

# Show how the runs went: in the terminal, and as a self-contained page.
run report run better other
said 'best'
run report run better search/experiments/*/ --html report.html --quiet
is_there report.html
grep -q '<svg' report.html || fail "report.html has no plots"
grep -q 'src=\|<link' report.html && fail "report.html refers to other files"

printf '\nall as told, in %s seconds\n' $SECONDS
