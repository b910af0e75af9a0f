"""Hosts on this machine: network namespaces with a link each, of a rate and a delay that are given.
As root. Used by at_scale.py."""

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

IP = shutil.which('ip', path='/usr/sbin:/sbin:/usr/bin:/bin')


class Hosts:
    """A namespace each, with a host name, else the ranks think that they share a node's memory, and
    the address 10.77.0.i on link0, i from 1."""

    def __init__(self, count, links, gbps, delay):
        self.names = [f'host{i + 1}of{os.getpid()}' for i in range(count)]
        self.addresses = [f'10.77.0.{i + 1}' for i in range(count)]
        self.links, self.gbps, self.delay = links, gbps, delay
        self.process = None

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def make(self):
        self.folder = Path(tempfile.mkdtemp(prefix='hosts'))
        for name in self.names:
            subprocess.run([IP, 'netns', 'add', name], check=True)
        self.process = subprocess.Popen(
            [self.links, str(self.gbps * 1e9), str(self.delay), *self.names],
            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == 'ready\n'
        for name, address in zip(self.names, self.addresses):
            for command in (
                    'link set lo up', f'addr add {address}/24 dev link0',
                    'link set link0 mtu 1500', 'link set link0 up'):
                subprocess.run([IP, '-n', name, *command.split()], check=True)
            # a connection that rests between steps keeps its window, as on nodes set up for MPI
            self.run(name, 'sysctl -qw net.ipv4.tcp_slow_start_after_idle=0', check=True)
        (self.folder / 'hostfile').write_text(
            ''.join(f'{address} slots=1\n' for address in self.addresses))
        agent = self.folder / 'agent'
        cases = ''.join(f'  {a}) name={n} ;;\n' for a, n in zip(self.addresses, self.names))
        agent.write_text(f'''#!/bin/sh
# in place of ssh: agent ADDRESS COMMAND..
while [ "${{1#-}}" != "$1" ]; do shift; done
address=$1; shift
case $address in
{cases}esac
exec {IP} netns exec $name unshare --uts sh -c "hostname $name && $*"
''')
        agent.chmod(agent.stat().st_mode | stat.S_IXUSR)

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        for name in self.names:
            subprocess.run([IP, 'netns', 'delete', name], check=False)
        shutil.rmtree(self.folder)

    def run(self, name, command, **more):
        return subprocess.run(
            [IP, 'netns', 'exec', name, 'unshare', '--uts', 'sh', '-c',
             f'hostname {name} && {command}'], **more)

    def mpirun(self, ranks, command):
        """Runs a rank on each of the first hosts."""
        options = ' '.join((
            f'--allow-run-as-root --hostfile {self.folder}/hostfile -n {ranks} --map-by node',
            f'--bind-to none --mca plm_rsh_agent {self.folder}/agent',
            '--mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include link0',
            '--mca oob_tcp_if_include link0'))
        return self.run(self.names[0], f'timeout 300 mpirun {options} {command}',
                        capture_output=True, text=True)

    def links_seconds(self):
        """CPU time that the links have taken."""
        fields = Path(f'/proc/{self.process.pid}/stat').read_text().rsplit(')', 1)[1].split()
        return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')

    def sent(self, name):
        """Bytes that have left a host."""
        text = self.run(name, 'cat /sys/class/net/link0/statistics/tx_bytes', check=True,
                        capture_output=True, text=True).stdout
        return int(text)
