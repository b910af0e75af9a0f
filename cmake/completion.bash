# Completes the options of MM-Rec's programs by what their --help says, and names of files.
_mmrec() {
  local word=${COMP_WORDS[COMP_CWORD]}
  [[ $word == -* ]] || return
  mapfile -t COMPREPLY < <(compgen -W "$("$1" --help 2>/dev/null |
    sed -nE 's/^ +(-[a-z],)?(--[a-z0-9-]+).*/\2/p')" -- "$word")
}
complete -o default -F _mmrec mmrec-evaluate mmrec-generate mmrec-prepare mmrec-report \
  mmrec-search mmrec-train mmrec-upscale
