"""The recipe of the slate reader: rendered frames, two-stage training, evaluation.

fields   what stands on a slate, and the answer          fonts    where typefaces are found
layouts  where it stands                                 drawing  the board in pixels
clutter  what is around it, and frames without one       effects  what a camera does to it
frame    one sample, a pure function of (stream, index)  sets     the fixed evaluation sets
words    answers to tokens                               network  the checkpoint, batched
copies   masks, positions and noise of both stages       feed     batches of samples
optim    Muon and AdamW                                  course   what is trained when
state    files to resume from                            training the loop
"""
