"""The SMT solver cvc5 as a process, for machines that have its PyPI package and no executable.

Asked for its `version` it says what the executable says. Otherwise its argument is the limit for one answer in
milliseconds; SMT-LIB 2.6 comes in on stdin, answers go out on stdout as they are due. What cvc5 refuses is
answered with `(error "...")` and ends the process: whatever follows an error must not pass for an answer.
"""

import re
import site
import sys

# Where a parenthesis means nothing: strings, quoted symbols, comments.
QUOTED = re.compile(r'"[^"]*"|\|[^|]*\||;[^\n]*')


def is_complete(text):
    """Whether `text` ends where a command ends."""
    bare = QUOTED.sub("", text)
    return bare.count("(") == bare.count(")") and '"' not in bare and "|" not in bare


class Session:
    """What the solver knows between two resets."""

    def __init__(self, cvc5, limit_ms):
        self.language = cvc5.InputLanguage.SMT_LIB_2_6
        self.terms = cvc5.TermManager()
        self.solver = cvc5.Solver(self.terms)
        self.solver.setOption("tlimit-per", limit_ms)
        self.symbols = cvc5.SymbolManager(self.terms)
        self.parser = cvc5.InputParser(self.solver, self.symbols)

    def run(self, text):
        """Runs the commands in `text` up to a `reset` or `exit`, whose name it returns."""
        self.parser.setStringInput(self.language, text, "stdin")
        while not (command := self.parser.nextCommand()).isNull():
            name = command.getCommandName()
            if name in ("reset", "exit"):
                return name
            sys.stdout.write(command.invoke(self.solver, self.symbols))
        return None


def serve(cvc5, limit_ms):
    session = Session(cvc5, limit_ms)
    text = ""
    for line in sys.stdin:
        text += line
        if not is_complete(text):
            continue
        ended_by = session.run(text)
        sys.stdout.flush()
        text = ""
        if ended_by == "exit":
            return
        if ended_by == "reset":
            session = Session(cvc5, limit_ms)


def load():
    """The package; an isolated interpreter does not look where `pip install --user` puts it."""
    try:
        import cvc5
    except ModuleNotFoundError:
        sys.path.append(site.getusersitepackages())
        import cvc5
    return cvc5


def main(argument):
    try:
        cvc5 = load()
        if argument == "version":
            print("This is cvc5 version", cvc5.__version__)
        else:
            serve(cvc5, argument)
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split()).replace('"', "'")
        print(f'(error "{said}")')
        return 1
    return 0


sys.exit(main(sys.argv[1]))
