class MALA:
    pass


class ULA:
    pass
