#!/usr/bin/env bash
# Makes the files of this folder anew, with xz, bzip2, zstd, tar, zip and python3. They are kept in
# the repository: the tests need none of the programs, and a file stays as its program made it.
set -euo pipefail
cd "$(dirname "$0")"
out=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

for i in $(seq 300); do echo "line $i of a text"; done >text.txt
xz -c text.txt >"$out/text.xz"
bzip2 -c text.txt >"$out/text.bz2"
zstd -qc --check text.txt >"$out/text.zst"
gzip -nc text.txt | xz -c >"$out/text.gz.xz"

# the members in another order than that of their paths
mkdir -p a .hidden
echo first >a/z.txt
echo second >B.TXT
echo third >c.md
echo hidden >.hidden/x.txt
echo picture >p.png
ln -s c.md link.txt
tar --owner=0 --group=0 --mtime=@0 -cf "$out/folder.tar" ./c.md ./p.png ./link.txt ./B.TXT ./a \
  ./.hidden
zstd -qc "$out/folder.tar" >"$out/folder.tar.zst"
rm -f "$out"/*.zip
TZ=UTC zip -qryX "$out/folder.zip" c.md p.png link.txt B.TXT a .hidden
TZ=UTC zip -qX -P secret "$out/encrypted.zip" c.md

# an archive, a compressed one and a compressed file in an archive
mkdir nested
gzip -nc c.md >nested/3.txt.gz
tar --owner=0 --group=0 --mtime=@0 -cJf nested/1.tar.xz a/z.txt
TZ=UTC zip -qX nested/2.zip B.TXT
tar --owner=0 --group=0 --mtime=@0 -C nested -cjf "$out/nested.tar.bz2" 3.txt.gz 2.zip 1.tar.xz

# a dump as Wikipedia makes them: streams of bzip2 for the beginning, for some pages each, the end
page() {
  printf '  <page>\n    <title>%s</title>\n    <ns>%s</ns>\n    <id>1</id>\n%s' "$1" "$2" "$3"
  printf '    <revision>\n      <id>2</id>\n      <model>wikitext</model>\n'
  printf '      <text bytes="9" xml:space="preserve">%s</text>\n    </revision>\n  </page>\n' "$4"
}
{
  printf '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="en">\n' | bzip2
  {
    page First 0 '' "The '''first''' page."
    page Old 0 $'    <redirect title="First" />\n' '#REDIRECT [[First]]'
  } | bzip2
  {
    page Talk:First 1 '' 'Talk.'
    page Second 0 '' 'The [[First|other]] page.'
  } | bzip2
  printf '</mediawiki>\n' | bzip2
} >"$out/pages.xml.bz2"

# python's programs write headers of other kinds; names that must not be used as they are
python3 - "$out" <<'EOF'
import io, sys, tarfile, zipfile

def add(archive, name, text):
    member = tarfile.TarInfo(name)
    member.size = len(text)
    archive.addfile(member, io.BytesIO(text))

with tarfile.open(sys.argv[1] + "/names.tar", "w", format=tarfile.PAX_FORMAT) as archive:
    for name, text in [("é.txt", b"1\n"), ("../up.txt", b"2\n"), ("/absolute.txt", b"3\n"),
                       ("n" * 150 + "ü.txt", b"4\n"), ("é.txt", b"5\n")]:
        add(archive, name, text)
with zipfile.ZipFile(sys.argv[1] + "/names.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    for name, text in [("é.txt", "1\n"), ("../up.txt", "2\n"), ("/absolute.txt", "3\n")]:
        archive.writestr(zipfile.ZipInfo(name), text)

data = b"too deep\n"
for level in range(9):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        add(archive, "x.tar.xz" if level else "x.txt", data)
    data = packed.getvalue()
open(sys.argv[1] + "/deep.tar.xz", "wb").write(data)
EOF
