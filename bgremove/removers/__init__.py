"""The removers: one module each, all behind :class:`bgremove.removers.base.Remover`."""
