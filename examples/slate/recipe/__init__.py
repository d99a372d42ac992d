"""The recipe of the slate reader: frames of several drawing paths, two-stage training, evaluation.

views    one sample of any drawing path                  grid     what each image token shows

The first path, by which the evaluation sets are drawn:

fields   what stands on a slate, and the answer          fonts    where typefaces are found
layouts  where it stands                                 drawing  the board in pixels
clutter  what is around it, and frames without one       effects  what a camera does to it
frame    one sample                                      sets     the fixed evaluation sets

The second one, of many makes and hands:

broad    what stands on slates of many productions       flow     where it stands
looks    how boards are made                             boards   boards in pixels
dressing what is on a board beside its cells             pens     typefaces, hands, segments
strokes  letters as strokes of a pen                     assets   typefaces and photographs by role
families which typefaces, and which are held out         camera   backgrounds, optics, codecs
lookalikes  writing that is no slate                     staged   one sample

foreign  the validation's own path, never trained on

words    answers to tokens                               network  the checkpoint, batched
shapes   sizes of readers, and how one begins            tower, language  the forward
copies   masks, positions and noise of both stages       feed     batches of samples
optim    Muon and AdamW                                  course   what is trained when
state    files to resume from                            training the loop
"""
