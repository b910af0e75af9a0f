#!/usr/bin/env python3
"""Compares what `train --plan --ranks` predicts with what steps take: ranks on hosts that are
network namespaces, with links of a rate and a delay (hosts.py), and ranks on this machine alone.
The links take time of the same cores, which no prediction has: the last column, a step and core.

    sudo bench/ranks/at_scale.py [BUILD_FOLDER] [--configs tiny mini] [--json FILE]

Needs mpirun and, for the hosts, root. Ranks have a thread each. The ranks share this machine's
cores, so as many plans as ranks are made at the same time, and their mean counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hosts import Hosts

NETWORKS = [None, (10, 50e-6), (10, 1e-3), (1, 50e-6), (1, 1e-3)]  # Gbit/s, s; None: no network
FIRST = 5  # steps that do not count


def words(network):
    return f'{network[0]}Gbps,{network[1] * 1e6:g}us' if network else 'one machine'


def plan(train, options, ranks, network):
    """Returns the row of the plan for so many ranks, of each figure the mean of all plans."""
    command = [train, *options, '--plan', '--json', '--ranks', str(ranks)]
    if network:
        command += ['--threads', '1', '--network', words(network)]
    else:
        command += ['--threads', str(ranks)]
    plans = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
             for _ in range(ranks if network else 1)]
    rows = [json.loads(plan.communicate()[0])['at_scale']['rows'][-1] for plan in plans]
    return {name: statistics.mean(row[name] for row in rows) for name in rows[0]}


def run(train, options, ranks, network, links, folder):
    """Returns of a step the median time, what the first host has sent, in bytes, and the time that
    the links have taken of each core."""
    out = folder / 'run'
    command = ' '.join([train, *options, '--out', str(out), '--overwrite', '--quiet', '--threads',
                        '1', '--save-every', '0', '--sample-tokens', '0', '--val-tokens', '10000'])
    if network:
        with Hosts(ranks, links, *network) as hosts:
            result = hosts.mpirun(ranks, command)
            sent, links_seconds = hosts.sent(hosts.names[0]), hosts.links_seconds()
    else:
        result = subprocess.run(
            f'mpirun --allow-run-as-root --oversubscribe --bind-to none -n {ranks} {command}',
            shell=True, capture_output=True, text=True)
        sent, links_seconds = 0, 0
    if result.returncode != 0:
        sys.exit(result.stdout + result.stderr)
    rows = [json.loads(line) for line in (out / 'metrics.jsonl').read_text().splitlines()]
    steps = [row for row in rows if 'tokens_per_second' in row]
    tokens = steps[1]['tokens'] - steps[0]['tokens']
    return (statistics.median(tokens / row['tokens_per_second'] for row in steps[FIRST:]),
            sent / len(steps), links_seconds / len(steps) / os.cpu_count())


def main():
    arguments = argparse.ArgumentParser(description=__doc__,
                                        formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('build', nargs='?', default='build')
    arguments.add_argument('--configs', nargs='+', default=['tiny', 'mini'])
    arguments.add_argument('--ranks', nargs='+', type=int, default=[1, 2, 4])
    arguments.add_argument('--networks', nargs='+', type=int, default=range(len(NETWORKS)),
                           help=', '.join(f'{i}: {words(n)}' for i, n in enumerate(NETWORKS)))
    arguments.add_argument('--batch', type=int, default=8)
    arguments.add_argument('--steps', type=int, default=25)
    arguments.add_argument('--json', help='also write the rows to this file')
    given = arguments.parse_args()
    train, links = (str(Path(given.build).resolve() / 'bin' / name) for name in ('train', 'links'))
    rows = []
    print('| model | ranks | network | predicted, ms | measured | error | hidden '
          '| sent, MB | links, ms |')
    print('|---|---|---|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        for config in given.configs:
            for ranks in given.ranks:
                for network in (NETWORKS[i] for i in given.networks):
                    if network and ranks == 1:
                        continue
                    options = ['--config', config, '--batch', str(given.batch), '--accumulate',
                               str(ranks), '--steps', str(given.steps)]
                    predicted = plan(train, options, ranks, network)
                    measured, sent, links_seconds = run(
                        train, options, ranks, network, links, Path(folder))
                    error = predicted['step_seconds'] / measured - 1
                    rows.append({'config': config, 'network': words(network),
                                 'measured_seconds': measured, 'sent': sent, **predicted})
                    print(f'| {config} | {ranks} | {words(network)} '
                          f'| {1e3 * predicted["step_seconds"]:.0f} | {1e3 * measured:.0f} '
                          f'| {100 * error:+.0f} % | {100 * predicted["hidden"]:.0f} % '
                          f'| {sent / 1e6:.1f} | {1e3 * links_seconds:.0f} |', flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=2))


if __name__ == '__main__':
    main()
