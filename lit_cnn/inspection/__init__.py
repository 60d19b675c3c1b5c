"""Looking inside models: what ``lit-cnn models`` lists and ``lit-cnn inspect`` prints and plots.

``trace`` follows the operations of a forward pass on the meta device -> ``receptive_field`` (exact sets of pixels) ->
``layers`` (one ``Layer`` per module call) -> ``gridding`` (dilated convolutions), ``layer_table`` and ``plots``.
``measure`` counts parameters and MACs; ``figures`` and ``model_table`` hold the stored ones of ``model_figures/*.csv``
(written by ``tools/``) without torch; ``tables`` formats numbers. Imports ``lit_cnn.models``, not the reverse.
"""
